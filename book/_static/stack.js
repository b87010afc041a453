"use strict";
// A stack of attention modules whose masks are one number everywhere: how many modules, which number, and what follows.
// Every value shown was measured when the chapter's notebook ran, which leaves them on the page as JSON:
// {quantity: {learning: {level: [after module 1, after module 2, …]}}}. Nothing is computed here.

(() => {
  const place = document.getElementById("stack");
  const numbers = JSON.parse(document.getElementById("stack-numbers").textContent);
  const { path: PATH, response: RESPONSE, cosine: COSINE } = place.dataset;
  const AXES = { // of each quantity: ticks from the lowest to the highest, and whether the axis is logarithmic
    [PATH]: { ticks: [0.0001, 0.01, 1, 100], high: 300, log: true },
    [RESPONSE]: { ticks: [0.1, 1, 10, 100], high: 300, log: true },
    [COSINE]: { ticks: [0, 0.5, 1], low: -0.1, high: 1 },
  };
  const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [220, 170, 38, 24, 8];
  const learnings = Object.keys(numbers[PATH]);
  const levels = Object.keys(numbers[PATH][learnings[0]]).sort((a, b) => a - b);
  const count = numbers[PATH][learnings[0]][levels[0]].length;

  function figure(value) { // three digits; a power of ten below a thousandth
    if (value === 0) return "0";
    if (Math.abs(value) >= 0.001) return String(Number(value.toPrecision(3))).replace("-", "−");
    const [digits, power] = value.toExponential(1).replace("-", value < 0 ? "−" : "-").split("e");
    const raised = [...power].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("");
    return `${digits === "1.0" ? "" : `${digits}·`}10${raised}`;
  }

  function chart(quantity, level, modules) {
    const { ticks, high, low = ticks[0], log } = AXES[quantity], scale = log ? Math.log : (value) => value;
    const x = (module) => LEFT + ((module - 1) / (count - 1)) * (WIDTH - LEFT - 8);
    const y = (value) => { // what is below the axis lies on it
      const share = (scale(Math.max(value, low)) - scale(low)) / (scale(high) - scale(low));
      return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP);
    };
    const lines = ticks.map((tick) =>
      `<line class="grid" x1="${LEFT}" x2="${WIDTH}" y1="${y(tick)}" y2="${y(tick)}"/>` +
      `<text x="${LEFT - 5}" y="${y(tick) + 4}" text-anchor="end">${figure(tick)}</text>`);
    const marks = [[1, "1"], [(1 + count) / 2, words("modules")], [count, count]].map(([module, word]) =>
      `<text x="${x(module)}" y="${HEIGHT - 6}" text-anchor="middle">${word}</text>`);
    const curves = learnings.map((learning) => {
      const values = numbers[quantity][learning][level];
      const points = values.map((value, i) => `${x(i + 1)},${y(value)}`);
      const at = `cx="${x(modules)}" cy="${y(values[modules - 1])}"`;
      return `<g class="${learning.toLowerCase()}"><polyline points="${points.join(" ")}"/><circle ${at} r="5"/></g>`;
    });
    const ends = learnings.map((learning) => {
      const values = numbers[quantity][learning][level];
      const [first, last] = [values[0], values.at(-1)].map(figure);
      return words("{learning} from {first} to {last}", { learning, first, last });
    });
    const name = words(quantity);
    const about = words("{name} after 1 to {count} modules: {ends}", { name, count, ends: ends.join(", ") });
    return `<figure><figcaption>${name}</figcaption>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${about}">
      ${[...lines, ...marks, ...curves].join("")}</svg></figure>`;
  }

  function draw() {
    const modules = Number(part("modules").value), level = levels[part("level").value];
    part("count").textContent = modules;
    part("number").textContent = level;
    part("after").textContent = words(modules > 1 ? "after {modules} modules" : "after 1 module", { modules });
    part("level").setAttribute("aria-valuetext", level);
    part("charts").innerHTML = [PATH, RESPONSE, COSINE].map((quantity) => chart(quantity, level, modules)).join("");
    const row = (quantity) => `<tr><th scope="row">${words(quantity)}</th>${learnings.map((learning) =>
      `<td>${figure(numbers[quantity][learning][level][modules - 1])}</td>`).join("")}</tr>`;
    part("rows").innerHTML = [PATH, RESPONSE, COSINE].map(row).join("");
  }

  const part = (name) => place.querySelector(`[data-part="${name}"]`);
  const heading = (learning) => `<th scope="col">
    <svg class="key ${learning.toLowerCase()}" viewBox="0 0 30 10" aria-hidden="true"><polyline points="0,5 30,5"/></svg>
    ${learning}</th>`;
  const last = levels.length - 1;
  place.innerHTML = `
    <div class="line"><label for="stack-modules">${words("Modules")}</label>
      <input id="stack-modules" type="range" min="1" max="${count}" value="${count}" data-part="modules">
      <output for="stack-modules" data-part="count"></output></div>
    <div class="line"><label for="stack-level">${words("Level of the mask")}</label>
      <input id="stack-level" type="range" min="0" max="${last}" value="${last / 2}" data-part="level">
      <output for="stack-level" data-part="number"></output></div>
    <table aria-live="polite">
      <thead><tr><th scope="col" data-part="after"></th>${learnings.map(heading).join("")}</tr></thead>
      <tbody data-part="rows"></tbody>
    </table>
    <div class="charts" data-part="charts"></div>`;
  for (const name of ["modules", "level"]) part(name).addEventListener("input", draw);
  draw();
})();
