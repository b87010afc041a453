"use strict";
// The page "Look through the network's eyes": a picture, a module, a channel; features and mask laid over the picture.
// The network's weights are a script of their own, which is loaded when the reader asks for it.

(() => {
  const page = document.getElementById("explorer");
  const part = (name) => page.querySelector(`[data-part="${name}"]`);
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const SHOWN = 256; // pixels of a canvas, whose size on the page is the style sheet's affair
  const SMALL = 32; // of a test image in the strip
  const MEAN = -1; // in place of a channel: the mean of all
  const LARGEST = 4096; // side of a picture: browsers refuse very large canvases
  const state = { network: null, found: null, picture: null, asked: 0 };

  const say = (text) => { part("status").textContent = text; };
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done))); // before a long task

  function loaded(address) {
    return new Promise((done, failed) => {
      const script = Object.assign(document.createElement("script"), { src: address, onload: done, onerror: failed });
      document.head.append(script);
    });
  }

  const canvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

  // Whichever picture is asked for last is shown, also where an earlier one takes longer to read.
  async function take(name, read) {
    const asked = ++state.asked;
    try {
      const picture = await read();
      if (asked !== state.asked) return;
      state.picture = { name, ...picture };
    } catch {
      if (asked === state.asked) say(words("{name} cannot be read as a picture: take a PNG, JPEG or WebP file.", { name }));
      return;
    }
    await look(asked);
  }

  // Both give a canvas to be seen and, once there is a network, the pixels that it reads. The test images come with the
  // weights once more: a script may not read the strip on the page when the page is opened from disk.
  async function sample(number) {
    const strip = new Image();
    strip.src = state.network ? RAN.samples : `${folder}cifar10_samples.png`;
    await strip.decode();
    const seen = canvas(SMALL, SMALL), context = seen.getContext("2d");
    context.drawImage(strip, -SMALL * number, 0);
    return { seen, data: state.network && context.getImageData(0, 0, SMALL, SMALL) };
  }

  async function own(file) {
    const image = await createImageBitmap(file, { colorSpaceConversion: "none" });
    const fit = Math.min(1, LARGEST / Math.max(image.width, image.height));
    const [width, height] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * fit)));
    const whole = canvas(width, height), context = whole.getContext("2d"), side = Math.min(width, height);
    const behind = state.network ? RAN.mean.map((each) => Math.round(255 * each)) : [128, 128, 128];
    context.fillStyle = `rgb(${behind})`; // shows where the picture is transparent
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0, width, height);
    const seen = canvas(SHOWN, SHOWN), corner = [(width - side) / 2, (height - side) / 2];
    seen.getContext("2d").drawImage(whole, ...corner, side, side, 0, 0, SHOWN, SHOWN);
    return { seen, data: state.network && context.getImageData(0, 0, width, height) };
  }

  // The network looks at the picture; then everything is drawn.
  async function look(asked) {
    const { data, name } = state.picture;
    if (!data) return draw();
    say(words("The network looks …"));
    await painted();
    if (asked !== state.asked) return; // another picture was chosen meanwhile
    const start = performance.now(), pixels = Pictures.middleSquare(data, RAN.size, RAN.margin);
    state.read = canvas(RAN.size, RAN.size);
    state.read.getContext("2d").putImageData(new ImageData(pixels, RAN.size), 0, 0);
    state.found = state.network.forward(pixels, RAN.size);
    const seconds = ((performance.now() - start) / 1000).toFixed(2);
    answer();
    limit();
    draw();
    const count = Math.round(RAN.multiplyAdds / 1e6);
    say(words("{name}: {count} million multiply-adds, done on this page in {seconds} s.", { name, count, seconds }));
  }

  function answer() {
    const logits = Array.from(state.found.logits), most = Math.max(...logits);
    const odds = logits.map((each) => Math.exp(each - most)), sum = odds.reduce((a, b) => a + b);
    const ranked = RAN.classes.map((name, i) => ({ name, share: odds[i] / sum })).sort((a, b) => b.share - a.share);
    part("classes").replaceChildren(...ranked.slice(0, 5).map(({ name, share }) => {
      const line = document.createElement("li"), percent = `${(100 * share).toFixed(1)}%`;
      line.innerHTML = "<span></span> <span></span><i aria-hidden='true'></i>";
      [line.children[0].textContent, line.children[1].textContent] = [name, percent];
      line.children[2].style.width = percent;
      return line;
    }));
  }

  const module = () => state.found.modules[part("module").selectedIndex];
  function map(x, channel) { // channels count from 0, as in PyTorch and in `ran explain`
    const positions = x.height * x.width;
    if (channel !== MEAN) return x.values.subarray(channel * positions, (channel + 1) * positions);
    const mean = new Float32Array(positions);
    x.values.forEach((value, i) => { mean[i % positions] += value / x.channels; });
    return mean;
  }
  const range = (values) => [Math.min(...values), Math.max(...values)];

  // The channels of the module that is shown, and beside them those whose masks vary most over positions.
  function limit() {
    const { mask } = module(), slider = part("channel");
    slider.max = mask.channels - 1;
    const spread = (channel) => {
      const values = map(mask, channel), mean = values.reduce((a, b) => a + b) / values.length;
      return values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    };
    const spreads = Array.from({ length: mask.channels }, (_, i) => [spread(i), i]).sort((a, b) => b[0] - a[0]);
    part("varying").replaceChildren(...[MEAN, ...spreads.slice(0, 4).map((each) => each[1])].map((channel) => {
      const mean = channel === MEAN, text = mean ? words("mean") : channel;
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
      button.setAttribute("aria-label", mean ? words("mean of all channels") : words("channel {channel}", { channel }));
      button.addEventListener("click", () => { slider.value = channel; draw(); });
      return button;
    }));
  }

  // A picture, below it a few words, and over it, where there is one, a map.
  function panel(name, about, below, image, map, share) {
    const target = part(name), context = target.getContext("2d");
    target.width = target.height = SHOWN; // which also clears it
    context.imageSmoothingEnabled = false; // one square is one pixel that the network reads, or one position of a map
    context.drawImage(image, 0, 0, SHOWN, SHOWN);
    if (map) {
      context.globalCompositeOperation = "saturation"; // grey, so that all colour is the map's
      context.fillRect(0, 0, SHOWN, SHOWN);
      context.globalCompositeOperation = "source-over";
      context.globalAlpha = share;
      context.drawImage(map, 0, 0, SHOWN, SHOWN);
    }
    target.setAttribute("aria-label", about);
    target.parentElement.querySelector("span").textContent = below;
  }

  function draw() {
    const { picture } = state;
    if (!state.found) {
      panel("picture", picture.name, words("the network is not loaded yet"), picture.seen);
      return;
    }
    const channel = Number(part("channel").value), share = Number(part("blend").value);
    const { name, trunk, mask, attended } = module(), count = mask.channels;
    const which = channel === MEAN ? words("mean of {count}", { count }) : words("channel {channel}", { channel });
    part("which").textContent = which;
    part("channel").setAttribute("aria-valuetext", which);
    part("share").textContent = `${share}%`;
    const size = words("{size}×{size} pixels", { size: RAN.size });
    panel("picture", words("{name}, as the network reads it: {size}", { name: picture.name, size }), size, state.read);
    const lay = (target, values, colours, low, high) => {
      const [least, most] = range(values).map((each) => each.toFixed(2).replace("-", "−"));
      const ends = words("{least} to {most}", { least, most }), where = { which, module: label(name), name: picture.name };
      const about = words(`${target}, {module}, {which}, laid over {name}: {ends}`, { ...where, ends });
      const colouredMap = Pictures.coloured(values, mask.width, mask.height, colours, low, high);
      panel(target, about, ends, state.read, colouredMap, share / 100);
    };
    const [before, weights, after] = [trunk, mask, attended].map((each) => map(each, channel));
    const top = Math.max(...[before, after].flatMap((each) => range(each).map(Math.abs)));
    lay("before", before, "signed", -top, top);
    lay("mask", weights, "mask", ...range(weights));
    lay("after", after, "signed", -top, top);
  }

  function label(name) {
    const [, stage, number] = name.match(/stage(\d+)_module(\d+)/);
    return words("stage {stage}, module {number}", { stage, number });
  }

  async function start() {
    const button = part("start");
    button.disabled = true;
    say(words("The network is on its way …"));
    try {
      if (!globalThis.RAN) await loaded(`${folder}made/weights.js`);
      state.network = new AttentionNetwork(RAN);
    } catch {
      button.disabled = false;
      say(words("The network could not be loaded. `make book` writes it to _static/made/weights.js; then try again."));
      return;
    }
    part("module").replaceChildren(...RAN.blocks.filter((block) => block.op === "module").map((block) =>
      Object.assign(document.createElement("option"), { textContent: label(block.name) })));
    for (const control of page.querySelectorAll("[data-needs-network]")) control.disabled = false;
    button.hidden = true; // and whoever pressed it by keyboard is not left nowhere
    (page.querySelector("[name=sample]:checked") || part("module")).focus({ preventScroll: true });
    await again();
  }

  // What is chosen now, read anew.
  let again = async () => {};
  function choose(name, read) {
    again = () => take(name, read);
    return again();
  }

  function offer(files) {
    const [file] = files;
    if (!file) return;
    for (const each of part("samples").querySelectorAll("input")) each.checked = false;
    choose(file.name, () => own(file));
  }

  const samples = page.dataset.samples.split(" ").map((name, number) => {
    const line = document.createElement("label");
    const about = words("test image {number}, {name}", { number: number + 1, name });
    line.innerHTML = '<input type="radio" name="sample">';
    line.firstChild.setAttribute("aria-label", about);
    line.firstChild.addEventListener("change", () => choose(about, () => sample(number)));
    line.style.backgroundImage = `url("${folder}cifar10_samples.png")`;
    line.style.backgroundPosition = `${(100 * number) / (page.dataset.samples.split(" ").length - 1)}% 0`;
    return line;
  });
  part("samples").append(...samples);
  part("start").addEventListener("click", start);
  part("file").addEventListener("change", (event) => offer(event.target.files));
  part("module").addEventListener("change", () => {
    part("channel").value = MEAN;
    limit();
    draw();
  });
  for (const name of ["channel", "blend"]) part(name).addEventListener("input", draw);
  for (const kind of ["dragenter", "dragover"]) {
    page.addEventListener(kind, (event) => { event.preventDefault(); page.classList.add("dropping"); });
  }
  page.addEventListener("dragleave", () => page.classList.remove("dropping"));
  page.addEventListener("drop", (event) => {
    event.preventDefault();
    page.classList.remove("dropping");
    offer(event.dataTransfer.files);
  });

  page.hidden = false;
  samples[0].firstChild.click();
})();
