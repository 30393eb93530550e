// The page of a character-level GPT: it writes, and shows its probabilities and its attention.

const { config, characters, about, prompt: firstPrompt } = page.content;
const idOf = new Map(characters.map((character, id) => [character, id]));
const model = new Stack(page.tensors, config);

// The text as ids, with the cache, in the steps of lets_build_gpt.generate: when the text outgrows the context, its
// last half is kept and the positions restart at 0.
class Writer {
  constructor(ids, useCache) {
    this.ids = [...ids];
    this.useCache = useCache;
    this.first = 0; // index of the character at position 0
    this.reset();
  }

  reset() {
    this.cache = model.newCache();
    this.attn = []; // [position][layer][head][key]
  }

  // The logits of the next character.
  logits() {
    const { context_length: context } = config;
    if (this.ids.length - this.first > context) {
      this.first = this.ids.length - Math.max(1, Math.floor(context / 2));
      this.reset();
    }
    if (!this.useCache) this.reset();
    for (const id of this.ids.slice(this.first + this.cache.length)) {
      const { logits, attn } = model.step(id, this.cache);
      this.attn.push(attn.map((layer) => layer.self_attn));
      this.last = logits;
    }
    return this.last;
  }
}

// The ids of a text. Throws an error that names characters outside the vocabulary.
function encode(text) {
  const unknown = [...new Set([...text].filter((character) => !idOf.has(character)))];
  if (unknown.length) throw new Error(`The model does not know ${unknown.slice(0, 10).map(visible).join(" ")}`);
  return [...text].map((character) => idOf.get(character));
}

// ------------------------------------------------------------------------------------------------- the page

let writer, given, random, written;
let running = false;
let layer = 0, head = 0, query = null; // query: a position in the context; null is the last one

function start() {
  find("#error").textContent = "";
  try {
    const ids = encode(find("#prompt").value);
    writer = new Writer(ids.length ? ids : [idOf.get("\n") ?? 0], find("#cache").checked);
  } catch (error) {
    find("#error").textContent = error.message;
    return false;
  }
  given = writer.ids.length;
  random = randomNumbers(Number(find("#seed").value));
  written = { count: 0, seconds: 0 };
  query = null;
  writer.logits();
  return true;
}

function probabilities() {
  return nextProbabilities(writer.logits(), Number(find("#temperature").value), Number(find("#top-k").value));
}

function writeOne() {
  const began = performance.now();
  writer.ids.push(sample(probabilities(), random));
  writer.logits();
  written.count += 1;
  written.seconds += (performance.now() - began) / 1000;
}

function show() {
  const text = writer.ids.map((id) => characters[id]);
  find("#text").replaceChildren(
    element("span", { className: "given", textContent: text.slice(0, given).join("") }), text.slice(given).join(""));
  find("#text").scrollTop = find("#text").scrollHeight;
  showBars(find("#next"), mostProbable(probabilities(), characters));
  const rate = Math.round(written.count / written.seconds);
  find("#throughput").textContent = written.count ? `${rate.toLocaleString("en")} characters/s` : "";
  showHeads();
}

function showHeads() {
  const length = writer.attn.length;
  for (const button of document.querySelectorAll("#heads button")) {
    const [l, h] = button.dataset.head.split(",").map(Number);
    drawWeights(button.firstChild, writer.attn.map((layers) => layers[l][h]), length);
    button.setAttribute("aria-pressed", String(l === layer && h === head));
  }
  const at = query === null || query >= length ? length - 1 : query;
  const weights = writer.attn[at][layer][head];
  const names = writer.ids.slice(writer.first, writer.first + length).map((id) => characters[id]);
  find("#head-name").textContent = `Layer ${layer + 1}, head ${head + 1}`;
  find("#tokens").replaceChildren(...names.map((name, position) => {
    const button = element("button", { type: "button", className: "token", textContent: visible(name) });
    const [r, g, b] = weightColor(weights[position] ?? 0);
    button.style.background = `rgb(${r},${g},${b})`;
    button.style.color = 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#1c1c28" : "#fff";
    button.classList.toggle("query", position === at);
    button.onclick = () => { query = position; showHeads(); find("#tokens").children[position].focus(); };
    return button;
  }));
  find("#query-name").textContent = `“${visible(names[at])}”, character ${at + 1} of the context, attends to`;
  const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 6);
  showBars(find("#most"), order.map((position) => [`${position + 1}: ${visible(names[position])}`, weights[position]]));
}

function stop() {
  running = false;
  find("#stop").disabled = true;
}

// Write `count` characters, and let the page breathe 30 times a second.
function write(count) {
  running = true;
  find("#stop").disabled = false;
  query = null;
  const last = writer.ids.length + count;
  const tick = () => {
    const until = performance.now() + 25;
    while (running && writer.ids.length < last && performance.now() < until) writeOne();
    show();
    if (running && writer.ids.length < last) setTimeout(tick, 5);
    else stop();
  };
  tick();
}

function buildHeads() {
  const grid = find("#heads");
  grid.style.gridTemplateColumns = `3.6rem repeat(${config.n_heads}, minmax(0, 1fr))`;
  for (let l = 0; l < config.n_layers; l++) {
    grid.append(element("span", { textContent: `layer ${l + 1}` }));
    for (let h = 0; h < config.n_heads; h++) {
      const button = element("button", { type: "button" }, element("canvas"));
      button.dataset.head = `${l},${h}`;
      button.setAttribute("aria-label", `Layer ${l + 1}, head ${h + 1}`);
      button.onclick = () => { [layer, head] = [l, h]; showHeads(); };
      grid.append(button);
    }
  }
}

find("#about").textContent = about;
find("#prompt").value = firstPrompt;
const showTemperature = () => { find("#temperature-value").textContent = find("#temperature").value; };
find("#temperature").oninput = find("#top-k").oninput = () => { showTemperature(); if (writer) show(); };
find("#controls").onsubmit = (event) => { event.preventDefault(); stop(); if (start()) write(500); };
find("#one").onclick = () => {
  stop();
  const same = writer && writer.ids.slice(0, given).map((id) => characters[id]).join("") === find("#prompt").value;
  if (same || start()) { writeOne(); show(); }
};
find("#stop").onclick = stop;
find("#cache").onchange = () => { if (writer) { writer.useCache = find("#cache").checked; written = { count: 0, seconds: 0 }; } };
find("#prompt").oninput = () => { stop(); if (start()) show(); };
showTemperature();
buildHeads();
useTheme(() => { if (writer) show(); });
if (start()) show();
