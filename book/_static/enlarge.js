"use strict";
// A click on a figure, or Enter, shows it larger, above the page; Escape or a click puts it back. Without this script, the
// link leads to the figure's file.

(() => {
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.setAttribute("aria-label", words("The figure, enlarged"));
  dialog.innerHTML = '<button type="button"></button><div tabindex="0" role="region"></div>';
  const [button, frame] = dialog.children;
  button.textContent = words("Close");
  frame.setAttribute("aria-label", words("The figure"));

  function open(picture) {
    const copy = new Image(), ratio = picture.naturalWidth / picture.naturalHeight;
    copy.src = picture.src;
    copy.alt = picture.alt;
    const fits = Math.min(0.92 * innerWidth, 0.84 * innerHeight * ratio), shown = picture.width;
    copy.width = fits > 1.2 * shown ? fits : 1.8 * shown; // on a phone larger than the window: it scrolls
    frame.replaceChildren(copy);
    if (!dialog.isConnected) document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.enlarge");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    open(link.querySelector("img"));
  });
  button.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target !== frame) dialog.close(); });
})();
