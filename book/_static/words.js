"use strict";
// What scripts say to the reader, in the language of the page: an edition brings its words along as JSON, by the English
// (see book/translate.py). `words("after {count} modules", { count })` puts values in the places named.

globalThis.words = (() => {
  const held = document.getElementById("words"), said = held ? JSON.parse(held.textContent) : {};
  return (english, values = {}) => (said[english] ?? english).replace(/\{(\w+)\}/g, (_, name) => values[name]);
})();
