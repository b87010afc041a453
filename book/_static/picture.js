"use strict";
// Pictures for a network: any file as the square of pixels that the network reads, and maps of values as colours.
//
// A picture is scaled as in training and in `ran predict`, not by the browser, whose way of scaling down is its own:
// by triangles as wide as the scale, first across, then down, then the middle is cut out.

globalThis.Pictures = (() => {
  const roundHalfEven = (value) => {
    const whole = Math.round(value);
    return value % 1 === 0.5 && whole % 2 ? whole - 1 : whole;
  };

  // For the `count` outputs from number `first` on, of `to` in all: from which input on, and with which weights.
  function triangles(from, to, first, count) {
    const scale = from / to, wide = Math.max(1, scale);
    return Array.from({ length: count }, (_, i) => {
      const centre = (first + i + 0.5) * scale;
      const start = Math.max(0, Math.floor(centre - wide + 0.5)), end = Math.min(from, Math.floor(centre + wide + 0.5));
      const weights = Array.from({ length: end - start }, (_, j) =>
        Math.max(0, 1 - Math.abs(start + j + 0.5 - centre) / wide));
      const sum = weights.reduce((a, b) => a + b, 0);
      return { start, weights: weights.map((weight) => weight / sum) };
    });
  }

  // RGBA bytes (height, width) → RGBA bytes (size, size): the shorter side becomes size · margin, the middle is kept.
  function middleSquare({ data, width, height }, size, margin) {
    const short = roundHalfEven(size * margin), least = Math.min(width, height);
    const sides = [width, height].map((side) => (side === least ? short : Math.floor((short * side) / least)));
    const [across, down] = sides.map((side, axis) =>
      triangles([width, height][axis], side, roundHalfEven((side - size) / 2), size));
    const rows = new Uint8ClampedArray(height * size * 4), found = new Uint8ClampedArray(size * size * 4).fill(255);
    const scaled = (to, { start, weights }, from, at, step) => {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        weights.forEach((weight, j) => { sum += weight * from[at + (start + j) * step + c]; });
        to[c] = sum; // rounded by the array
      }
    };
    for (let y = 0; y < height; y++)
      across.forEach((each, x) => {
        const at = 4 * (y * size + x);
        scaled(rows.subarray(at, at + 4), each, data, 4 * y * width, 4);
      });
    down.forEach((each, y) => {
      for (let x = 0; x < size; x++) {
        const at = 4 * (y * size + x);
        scaled(found.subarray(at, at + 4), each, rows, 4 * x, 4 * size);
      }
    });
    return found;
  }

  const anchors = (text) => text.split(" ").map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const COLOURS = { // as in the figures of this book: matplotlib's RdBu_r and inferno
    signed: anchors("053061 2065ab 4393c3 90c4dd d1e5f0 f7f6f6 fddbc7 f3a481 d6604d b1182b 67001f"),
    mask: anchors("000004 210c4a 57106e 8a226a bc3754 e45a31 f98e09 f9cb35 fcffa4"),
  };

  // Values (height, width) as a canvas of one pixel a value; `low` has the first colour and `high` the last.
  function coloured(values, width, height, colours, low, high) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const all = COLOURS[colours], last = all.length - 1;
    values.forEach((value, i) => {
      const place = Math.min(1, Math.max(0, (value - low) / (high - low || 1))) * last;
      const below = Math.min(Math.floor(place), last - 1), share = place - below;
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = all[below][c] * (1 - share) + all[below + 1][c] * share;
      image.data[4 * i + 3] = 255;
    });
    context.putImageData(image, 0, 0);
    return canvas;
  }

  return { middleSquare, coloured };
})();
