"use strict";
// A Residual Attention Network at work in plain JavaScript: no library, no build step, no other host.
//
// A feature is {channels, height, width, values}: a Float32Array, channel after channel, row after row. What the
// network is made of comes from data (book/explorer.py writes it): a tree of steps, of which each names one of STEPS
// below. Most batch norms are fused into the convolution before them; those that follow a sum are the step "norm".

globalThis.AttentionNetwork = (() => {
  const feature = (channels, height, width) =>
    ({ channels, height, width, values: new Float32Array(channels * height * width) });
  const like = (x, value) => ({ ...x, values: x.values.map(value) });
  const sigmoid = (value) => 1 / (1 + Math.exp(-value));
  const run = (steps, x, trace) => steps.reduce((now, step) => STEPS[step.op](now, step, trace), x);
  const add = (a, b) => like(a, (value, i) => value + b.values[i]);

  // Each position's window of all channels as one column: (channels · kernel², positions). A convolution is then a
  // product of matrices. Outside the image is zero.
  function patches(x, kernel, stride, padding) {
    const size = (side) => Math.floor((side + 2 * padding - kernel) / stride) + 1;
    const found = feature(x.channels * kernel * kernel, size(x.height), size(x.width));
    let to = 0;
    for (let c = 0; c < x.channels; c++)
      for (let dy = -padding; dy < kernel - padding; dy++)
        for (let dx = -padding; dx < kernel - padding; dx++)
          for (let row = 0; row < found.height; row++) {
            const y = row * stride + dy;
            const from = (c * x.height + y) * x.width;
            for (let column = 0; column < found.width; column++, to++) {
              const inside = y >= 0 && y < x.height && column * stride + dx >= 0 && column * stride + dx < x.width;
              if (inside) found.values[to] = x.values[from + column * stride + dx];
            }
          }
    return found;
  }

  // weight (outputs, inputs) times x (inputs, positions). Four inputs at a time: the sums are then read and written a
  // quarter as often, which is what takes the time.
  function multiply(weight, x, outputs, bias) {
    const inputs = x.channels, positions = x.height * x.width, from = x.values;
    const found = feature(outputs, x.height, x.width);
    for (let o = 0; o < outputs; o++) {
      const sums = found.values.subarray(o * positions, (o + 1) * positions);
      if (bias) sums.fill(bias.values[o]);
      let i = 0, w = o * inputs;
      for (; i + 4 <= inputs; i += 4, w += 4) {
        const w0 = weight[w], w1 = weight[w + 1], w2 = weight[w + 2], w3 = weight[w + 3];
        const x0 = i * positions, x1 = x0 + positions, x2 = x1 + positions, x3 = x2 + positions;
        for (let p = 0; p < positions; p++)
          sums[p] += w0 * from[x0 + p] + w1 * from[x1 + p] + w2 * from[x2 + p] + w3 * from[x3 + p];
      }
      for (; i < inputs; i++, w++)
        for (let p = 0; p < positions; p++) sums[p] += weight[w] * from[i * positions + p];
    }
    return found;
  }

  // Bilinear, corners on corners, as the authors' layer has it.
  function upsample(x, height, width) {
    const found = feature(x.channels, height, width);
    const place = (to, side, sides) => {
      const at = sides > 1 ? (to * (side - 1)) / (sides - 1) : 0, low = Math.min(Math.floor(at), side - 1);
      return [low, Math.min(low + 1, side - 1), at - low];
    };
    for (let row = 0, to = 0; row < height; row++)
      for (let column = 0; column < width; column++, to++) {
        const [top, bottom, down] = place(row, x.height, height);
        const [left, right, across] = place(column, x.width, width);
        for (let c = 0; c < x.channels; c++) {
          const at = (y, z) => x.values[(c * x.height + y) * x.width + z];
          const above = at(top, left) * (1 - across) + at(top, right) * across;
          const below = at(bottom, left) * (1 - across) + at(bottom, right) * across;
          found.values[c * height * width + to] = above * (1 - down) + below * down;
        }
      }
    return found;
  }

  // The three kinds of attention: how features become a mask.
  const GATES = {
    mixed: (x) => like(x, sigmoid),
    channel(x) { // every position's channels as a vector of length 1
      const positions = x.height * x.width, squares = new Float64Array(positions);
      x.values.forEach((value, i) => { squares[i % positions] += value * value; });
      return like(x, (value, i) => value / Math.max(Math.sqrt(squares[i % positions]), 1e-6));
    },
    spatial(x) { // every channel standardised over its positions
      const positions = x.height * x.width, found = like(x, (value) => value);
      for (let c = 0; c < x.channels; c++) {
        const map = found.values.subarray(c * positions, (c + 1) * positions);
        const mean = map.reduce((sum, value) => sum + value, 0) / positions;
        const variance = map.reduce((sum, value) => sum + (value - mean) ** 2, 0) / positions;
        map.forEach((value, i) => { map[i] = sigmoid((value - mean) / Math.sqrt(variance + 1e-5)); });
      }
      return found;
    },
  };

  const LEARNING = { nal: (mask, trunk) => mask * trunk, arl: (mask, trunk) => (1 + mask) * trunk };

  const STEPS = {
    conv(x, { weight, bias, stride, padding, relu }) {
      const [outputs, , kernel] = weight.shape;
      const columns = kernel === 1 && stride === 1 ? x : patches(x, kernel, stride, padding);
      const found = multiply(weight.values, columns, outputs, bias);
      return relu ? STEPS.relu(found) : found;
    },
    norm(x, { scale, shift, relu }) {
      const positions = x.height * x.width, least = relu ? 0 : -Infinity, channel = (i) => Math.floor(i / positions);
      return like(x, (value, i) => Math.max(least, value * scale.values[channel(i)] + shift.values[channel(i)]));
    },
    relu: (x) => like(x, (value) => Math.max(0, value)),
    maxpool(x) { // 3×3, every second position
      const found = feature(x.channels, Math.ceil(x.height / 2), Math.ceil(x.width / 2));
      for (let c = 0, to = 0; c < x.channels; c++)
        for (let row = 0; row < found.height; row++)
          for (let column = 0; column < found.width; column++, to++) {
            let most = -Infinity;
            for (let y = Math.max(0, 2 * row - 1); y <= Math.min(x.height - 1, 2 * row + 1); y++)
              for (let z = Math.max(0, 2 * column - 1); z <= Math.min(x.width - 1, 2 * column + 1); z++)
                most = Math.max(most, x.values[(c * x.height + y) * x.width + z]);
            found.values[to] = most;
          }
      return found;
    },
    average(x) {
      const positions = x.height * x.width, found = feature(x.channels, 1, 1);
      x.values.forEach((value, i) => { found.values[Math.floor(i / positions)] += value / positions; });
      return found;
    },
    linear: (x, { weight, bias }) => multiply(weight.values, x, weight.shape[0], bias),

    // Chapter 1: a residual unit, pre-activated.
    unit(x, { preact, residual, projection }) {
      const activated = run(preact, x);
      return add(projection ? run(projection, activated) : x, run(residual, activated));
    },
    // Chapter 2: one scale of the soft mask, which holds the next smaller one.
    scale(x, { down, inner, skip, up }) {
      const small = run(down, STEPS.maxpool(x));
      const joined = inner ? add(run(skip, small), run(inner, small)) : small;
      return upsample(run(up, joined), x.height, x.width);
    },
    // Chapter 3: the attention module. Its features and its mask go into the trace.
    module(x, { name, before, trunk, mask, gate, learning, after }, trace) {
      const input = run(before, x);
      const features = run(trunk, input), weights = GATES[gate](run(mask, input));
      const attended = like(features, (value, i) => LEARNING[learning](weights.values[i], value));
      trace.push({ name, trunk: features, mask: weights, attended });
      return run(after, attended);
    },
  };

  // The tree of steps with numbers where the data say from which of the 16-bit integers they are made.
  function filled(node, integers) {
    if (Array.isArray(node)) return node.map((each) => filled(each, integers));
    if (node === null || typeof node !== "object") return node;
    if (!("start" in node)) {
      return Object.fromEntries(Object.entries(node).map(([key, each]) => [key, filled(each, integers)]));
    }
    const length = node.shape.reduce((product, side) => product * side, 1);
    const values = Float32Array.from(integers.subarray(node.start, node.start + length), (each) => each * node.scale);
    return { shape: node.shape, values };
  }

  return class {
    constructor({ stem, blocks, head, weights, mean, std }) {
      const bytes = Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0));
      this.steps = filled([...stem, ...blocks, ...head], new Int16Array(bytes.buffer));
      [this.mean, this.std] = [mean, std];
    }

    // pixels: RGBA bytes, row after row, of an image `side` pixels wide and high. Gives the logits, one for each class,
    // and of every attention module the features before its mask, the mask, and the features after it.
    forward(pixels, side) {
      const image = feature(3, side, side), positions = side * side, modules = [];
      for (let c = 0; c < 3; c++)
        for (let p = 0; p < positions; p++)
          image.values[c * positions + p] = (pixels[4 * p + c] / 255 - this.mean[c]) / this.std[c];
      return { logits: run(this.steps, image, modules).values, modules };
    }
  };
})();
