// The page of an encoder-decoder: it translates, and shows cross-attention, probabilities and the beam search.

const { config, task, about, text: firstText } = page.content;
const sourceId = new Map(task.source.map((symbol, id) => [symbol, id]));
const encoder = new Stack(page.tensors, config, "encoder.");
const decoder = new Stack(page.tensors, config, "decoder.");

// The source ids of a text, with the end-of-sequence id. Throws an error for a word outside the vocabulary.
function encode(text) {
  let words = text;
  if (task.words) words = words.toLowerCase().replace(/(?<=[a-z])-(?=[a-z])/g, " ");
  words = task.separator ? words.split(/\s+/).filter(Boolean) : [...words].filter((c) => c.trim());
  if (task.words) words = words.filter((word) => word !== "and");
  if (!words.length) throw new Error("Write some text");
  for (const word of words) {
    if ((sourceId.get(word) ?? -1) < task.special) {
      throw new Error(`The model does not know “${word}”. It knows: ${task.source.slice(task.special).join(", ")}`);
    }
  }
  return [...words.map((word) => sourceId.get(word)), task.eos_id];
}

// One step of decoding: logits with the ids that are never generated at -infinity, and the attention.
function step(id, cache) {
  const found = decoder.step(id, cache);
  for (const banned of task.banned) found.logits[banned] = -Infinity;
  return found;
}

function logSoftmax(logits) {
  const max = Math.max(...logits);
  const norm = max + Math.log([...logits].reduce((sum, value) => sum + Math.exp(value - max), 0));
  return Array.from(logits, (value) => value - norm);
}

// ((5 + length) / 6)^alpha (1609.08144, Eq. 14)
const lengthNorm = (length, alpha = 0.6) => ((5 + length) / 6) ** alpha;

// Beam search by log P(y) / norm(|y|); a beam of 1 is greedy decoding. `ids` is the best translation; `root` is the
// tree of all prefixes that were kept: {id, logp, children, score}.
function beamSearch(memory, beamSize, maxNewTokens = 64) {
  const root = { id: task.bos_id, logp: 0, children: [] };
  let live = [{ ids: [], logp: 0, last: task.bos_id, cache: decoder.newCache(memory), node: root }];
  let open = beamSize;
  let best = { score: -Infinity, ids: [] };
  const finish = (prefix, length) => {
    const score = prefix.logp / lengthNorm(length);
    prefix.node.score = score;
    if (score > best.score) best = { score, ids: prefix.ids, node: prefix.node };
  };
  for (let length = 1; length <= maxNewTokens && live.length; length++) {
    const candidates = live.flatMap((prefix) => {
      return logSoftmax(step(prefix.last, prefix.cache).logits).map((logp, id) => {
        return { prefix, id, logp: prefix.logp + logp };
      });
    }).filter((candidate) => candidate.logp > -Infinity);
    candidates.sort((a, b) => b.logp - a.logp);
    live = [];
    for (const { prefix, id, logp } of candidates.slice(0, open)) {
      const node = { id, logp, children: [] };
      prefix.node.children.push(node);
      if (id === task.eos_id) {
        finish({ ids: prefix.ids, logp, node }, length);
        open -= 1;
      } else {
        const cache = decoder.copyCache(prefix.cache);
        live.push({ ids: [...prefix.ids, id], logp, last: id, cache, node });
      }
    }
  }
  for (const prefix of live) finish(prefix, maxNewTokens);
  if (best.node) best.node.best = true;
  return { ids: best.ids, root };
}

// The steps that produce `ids` and the end: {id, probabilities, attn} each.
function steps(memory, ids) {
  const cache = decoder.newCache(memory);
  return [...ids, task.eos_id].map((id, i) => {
    const { logits, attn } = step(i ? ids[i - 1] : task.bos_id, cache);
    return { id, probabilities: softmax(logits), attn };
  });
}

// The text of target ids.
const decode = (ids) => ids.map((id) => task.target[id]).join(task.joiner);

// ------------------------------------------------------------------------------------------------- the page

let found = null; // {source, steps, root} of the text in the form
let shown = 0; // steps that are shown so far
let chosen = 0;
let timer;

function translate(animate) {
  clearTimeout(timer);
  find("#error").textContent = "";
  try {
    const source = encode(find("#source").value);
    const beamSize = Math.min(16, Math.max(1, Math.floor(Number(find("#beam").value)) || 1));
    const memory = encoder.encode(source).xs;
    const { ids, root } = beamSearch(memory, beamSize);
    found = { source, steps: steps(memory, ids), root, beamSize };
  } catch (error) {
    find("#error").textContent = error.message;
    return;
  }
  shown = animate ? 1 : found.steps.length;
  chosen = shown - 1;
  show();
  const tick = () => {
    if (shown >= found.steps.length) return;
    chosen = shown;
    shown += 1;
    show();
    timer = setTimeout(tick, 250);
  };
  if (animate) timer = setTimeout(tick, 250);
}

const nameOf = (id) => (id === task.eos_id ? "■" : task.target[id]);

function crossWeights(stepFound) {
  const layer = stepFound.attn[Number(find("#layer").value)].cross_attn;
  const head = find("#head").value;
  if (head !== "mean") return layer[Number(head)];
  return layer[0].map((_, key) => layer.reduce((sum, weights) => sum + weights[key], 0) / layer.length);
}

function tokenButton(i) {
  const button = element("button", { type: "button", className: "token", textContent: nameOf(found.steps[i].id) });
  button.classList.toggle("query", i === chosen);
  button.onclick = () => { clearTimeout(timer); shown = found.steps.length; chosen = i; show(); };
  return button;
}

function show() {
  const visibleSteps = found.steps.slice(0, shown);
  find("#target").replaceChildren(...visibleSteps.map((_, i) => tokenButton(i)));
  const head = element("tr", {}, element("th"),
    ...found.source.map((id) => element("th", { textContent: id === task.eos_id ? "■" : task.source[id], scope: "col" })));
  find("#cross").replaceChildren(head, ...visibleSteps.map((stepFound, i) => {
    const cells = [...crossWeights(stepFound)].map((weight) => {
      const [r, g, b] = weightColor(weight);
      const cell = element("td", { className: "number", textContent: Math.round(100 * weight) });
      cell.style.background = `rgb(${r},${g},${b})`;
      cell.style.color = 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#1c1c28" : "#fff";
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, tokenButton(i)), ...cells);
  }));
  const stepFound = found.steps[chosen];
  find("#step-name").textContent = `Token ${chosen + 1}: probabilities`;
  showBars(find("#next"), mostProbable(stepFound.probabilities, task.target.map((_, id) => nameOf(id)), 6));
  find("#hypotheses").hidden = found.beamSize === 1;
  find("#tree").replaceChildren(...branches(found.root));
}

// The list items of a node's children; a chain without branches is one item.
function branches(node) {
  return node.children.map((child) => {
    const names = [nameOf(child.id)];
    while (child.children.length === 1 && child.score === undefined) {
      child = child.children[0];
      names.push(nameOf(child.id));
    }
    const number = child.score === undefined ? child.logp : child.score;
    const label = element(child.best ? "strong" : "span", { textContent: names.join(" ") });
    const value = element("output", { textContent: ` ${number.toFixed(2).replace("-0.00", "0.00")}` });
    const item = element("li", {}, label, value);
    if (child.children.length) item.append(element("ul", {}, ...branches(child)));
    return item;
  });
}

find("#about").textContent = about;
find("#source").value = firstText;
for (let i = config.n_layers - 1; i >= 0; i--) find("#layer").append(new Option(i + 1, i));
find("#head").append(new Option("mean", "mean"));
for (let i = 0; i < config.n_heads; i++) find("#head").append(new Option(i + 1, i));
find("#controls").onsubmit = (event) => { event.preventDefault(); translate(true); };
find("#source").oninput = find("#beam").oninput = () => translate(false);
find("#layer").onchange = find("#head").onchange = () => { if (found) show(); };
useTheme(() => { if (found) show(); });
translate(false);
