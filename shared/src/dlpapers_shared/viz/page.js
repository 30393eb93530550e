"use strict";
const element = id => document.getElementById(id);
const data = JSON.parse(element("data").textContent);
const queries = data.queries, crossed = data.keys !== null, keys = crossed ? data.keys : queries;
const nQueries = queries.length, nKeys = keys.length, layers = data.layers, heads = data.heads, MEAN = -1;
const weights = decode(element("weights").textContent);
const SPECIAL = /^(<\|.+\|>|<\/?\w+>|\[[A-Z]+\d*\])$/; // <|endoftext|>, <s>, </s>, <pad>, [CLS]
const special = keys.map(name => SPECIAL.test(name));
const DEFAULTS = {
  layer: 0, head: 0, token: nQueries - 1, pinned: false, direction: "out", scale: "full", power: 0.5,
  first: false, special: false, renormalize: false, sort: "layer", theme: "auto",
};
let matrix = null, limits = null; // of the head that is shown: weights without what is left out; ends of the color scale

function decode(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

const percent = w => w > 0 && w < 0.00005 ? "< 0.01 %" : (100 * w).toFixed(2) + " %";
const named = (name, i) => name === String(i) ? name : `${name} (${i})`;
const headName = (layer, head) => `layer ${layer}, ${head === MEAN ? "mean of heads" : `head ${head}`}`;
const capital = text => text[0].toUpperCase() + text.slice(1);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const outward = () => state.direction === "out";
const sources = () => outward() ? queries : keys;
const targets = () => outward() ? keys : queries;

// ---------------------------------------------------------------- the address holds the settings

function fromAddress() {
  const found = {}, given = new URLSearchParams(location.hash.slice(1));
  for (const [name, standard] of Object.entries(DEFAULTS)) {
    if (!given.has(name)) continue;
    const text = given.get(name);
    found[name] = typeof standard === "number" ? Number(text) : typeof standard === "boolean" ? text === "1" : text;
  }
  const oneOf = (name, values) => { if (name in found && !values.includes(found[name])) delete found[name]; };
  const whole = (name, low, high) => {
    if (name in found && !(Number.isInteger(found[name]) && found[name] >= low && found[name] <= high)) delete found[name];
  };
  oneOf("direction", ["out", "in"]); oneOf("scale", ["full", "head", "token"]); oneOf("power", [1, 0.5, 0.25]);
  oneOf("sort", ["layer", ...Object.keys(KINDS)]); oneOf("theme", ["auto", "light", "dark"]);
  whole("layer", 0, layers - 1); whole("head", heads > 1 ? MEAN : 0, heads - 1);
  whole("token", 0, (found.direction === "in" ? nKeys : nQueries) - 1);
  return found;
}

function toAddress() {
  const changed = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  const text = new URLSearchParams(changed.map(([name, value]) => [name, value === true ? "1" : value])).toString();
  try { history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search); } catch { /* in a notebook */ }
}

// ---------------------------------------------------------------- weights

/** The weights of a head as they are in the model. */
function raw(layer, head) {
  const size = nQueries * nKeys, start = (layer * data.heads + head) * size;
  if (head !== MEAN) return weights.subarray(start, start + size);
  const mean = new Float32Array(size);
  for (let h = 0; h < heads; h++) {
    const one = raw(layer, h);
    for (let i = 0; i < size; i++) mean[i] += one[i] / heads;
  }
  return mean;
}

const leftOut = k => (state.first && k === 0) || (state.special && special[k]);

/** The same without the keys that are left out. */
function effective(layer, head) {
  const out = raw(layer, head);
  if (!keys.some((_, k) => leftOut(k))) return out;
  const kept = Float32Array.from(out);
  for (let q = 0; q < nQueries; q++) {
    let sum = 0;
    for (let k = 0; k < nKeys; k++) {
      if (leftOut(k)) kept[q * nKeys + k] = 0;
      sum += kept[q * nKeys + k];
    }
    if (state.renormalize && sum > 0) for (let k = 0; k < nKeys; k++) kept[q * nKeys + k] /= sum;
  }
  return kept;
}

/** The weight with the darkest color: one number for each query (outward), or for each key. */
function limitsOf(shown) {
  const found = new Float32Array(outward() ? nQueries : nKeys).fill(state.scale === "full" ? 1 : 0);
  if (state.scale === "full") return found;
  let largest = 0;
  for (let q = 0; q < nQueries; q++) for (let k = 0; k < nKeys; k++) {
    const w = shown[q * nKeys + k], i = outward() ? q : k;
    if (w > found[i]) found[i] = w;
    if (w > largest) largest = w;
  }
  return state.scale === "head" ? found.fill(largest) : found;
}

const ratio = (w, limit) => limit > 0 ? Math.min(1, w / limit) : 0;
const shade = r => Math.round(255 * Math.pow(r, state.power));

// ---------------------------------------------------------------- what kind of head it is

function meanOver(count, from, value) {
  let sum = 0, n = 0;
  for (let q = from; q < count; q++) { const v = value(q); if (v !== null) { sum += v; n += 1; } }
  return n ? sum / n : 0;
}

function entropy(shown) {
  return meanOver(nQueries, 0, q => {
    let bits = 0;
    for (let k = 0; k < nKeys; k++) { const w = shown[q * nKeys + k]; if (w > 0) bits -= w * Math.log2(w); }
    return bits;
  });
}

/** Positions after earlier occurrences of the token at q: what an induction head attends to. */
function successors(q) {
  const found = [];
  for (let j = 0; j < q; j++) if (queries[j] === queries[q]) found.push(j + 1);
  return found;
}

const KINDS = kinds();
function kinds() {
  const at = (shown, q, k) => shown[q * nKeys + k];
  const alone = {
    focused: ["low entropy", shown => -entropy(shown)],
    broad: ["high entropy", entropy],
  };
  if (crossed) return alone;
  const after = queries.map((_, q) => successors(q));
  return {
    previous: ["previous token", shown => meanOver(nQueries, 1, q => at(shown, q, q - 1))],
    first: ["first token", shown => meanOver(nQueries, 1, q => at(shown, q, 0))],
    same: ["same token", shown => meanOver(nQueries, 1, q => at(shown, q, q))],
    ...(after.some(a => a.length) && {
      induction: ["induction", shown => meanOver(nQueries, 1, q => after[q].length ? after[q].reduce((s, k) => s + at(shown, q, k), 0) : null)],
    }),
    ...alone,
  };
}

function describe(shown) {
  const parts = Object.entries(KINDS).filter(([key]) => key !== "focused" && key !== "broad");
  const texts = parts.map(([, [name, score]]) => `${name} ${Math.round(100 * score(shown))} %`);
  return [...texts, `entropy ${entropy(shown).toFixed(2)} bits`].join(" · ");
}

// ---------------------------------------------------------------- colors

const isDark = () => state.theme === "dark" || (state.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
let colors = [];
function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  colors = data.colors[isDark() ? "dark" : "light"].map(c => [1, 3, 5].map(i => parseInt(c.slice(i, i + 2), 16)));
  const context = element("gradient").getContext("2d");
  colors.forEach((color, x) => { context.fillStyle = `rgb(${color})`; context.fillRect(x, 0, 1, 1); });
}
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const readable = ([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#1c1c28" : "#fff";

/** Write an image of cells into a canvas: level(row, column) is from 0 to 255. */
function fill(canvas, rows, columns, level) {
  canvas.width = columns; canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  for (let y = 0, i = 0; y < rows; y++) for (let x = 0; x < columns; x++, i += 4) {
    const color = colors[level(y, x)];
    image.data[i] = color[0]; image.data[i + 1] = color[1]; image.data[i + 2] = color[2]; image.data[i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// ---------------------------------------------------------------- tokens

function makeTokens(parent, names, direction) {
  return names.map((name, i) => {
    const token = document.createElement("button");
    token.type = "button";
    token.className = "token";
    token.textContent = name;
    const take = () => { if (crossed) turn(direction); };
    token.addEventListener("pointerenter", event => { if (event.pointerType === "mouse") { take(); point(i); } });
    token.addEventListener("focus", () => { if (token.matches(":focus-visible")) { take(); point(i); toAddress(); } });
    token.addEventListener("click", () => { take(); pin(i); });
    parent.append(token);
    if (name.includes("⏎")) parent.append(document.createElement("br"));
    return token;
  });
}

const state = { ...DEFAULTS, ...fromAddress() };
const queryTokens = makeTokens(element("queries"), queries, "out");
const keyTokens = crossed ? makeTokens(element("keys"), keys, "in") : queryTokens;
element("keys-part").hidden = !crossed;
element("queries-name").textContent = crossed ? "Queries" : "Tokens";
element("queries").setAttribute("aria-label", crossed ? "Queries" : "Tokens");
let pinned = fromState(); // the token that a click has pinned, and the direction in which it is shown
function fromState() { return state.pinned ? { token: state.token, direction: state.direction } : null; }

/** Show what tokens attend to ("out") or what attends to them ("in"). */
function turn(direction) {
  if (state.direction === direction) return;
  state.direction = direction;
  if (state.scale === "token") showAll(); else showHead();
}
function point(token) { state.token = token; showToken(); }
function pin(token) {
  const same = pinned !== null && pinned.token === token && pinned.direction === state.direction;
  pinned = same ? null : { token, direction: state.direction };
  state.pinned = pinned !== null;
  point(token);
  toAddress();
}
function leave() {
  if (pinned !== null) { turn(pinned.direction); point(pinned.token); }
  toAddress();
}
function choose(layer, head) {
  state.layer = (layer + layers) % layers;
  state.head = head === MEAN ? MEAN : (head + heads) % heads;
  showHead();
  toAddress();
}

/** The weights of the token that is pointed at, one for each target. */
function vector() {
  const { token } = state;
  return outward() ? keys.map((_, k) => matrix[token * nKeys + k]) : queries.map((_, q) => matrix[q * nKeys + token]);
}

function bars(list, rows, largest) {
  list.replaceChildren(...rows.map(([name, value]) => {
    const item = document.createElement("li");
    for (const part of ["name", "bar", "value"]) {
      const span = document.createElement("span");
      span.className = part;
      item.append(span);
    }
    item.children[0].textContent = item.children[0].title = name;
    item.children[1].style.width = `${100 * value / largest}%`;
    item.children[2].textContent = percent(value);
    return item;
  }));
}

function showToken() {
  const { layer, head, token } = state, row = vector(), names = targets(), largest = row.reduce((most, w) => Math.max(most, w), 0);
  const from = outward() ? queryTokens : keyTokens, to = outward() ? keyTokens : queryTokens;
  for (const one of new Set([...queryTokens, ...keyTokens])) { one.classList.remove("from", "pinned"); one.tabIndex = -1; }
  if (crossed) for (const one of from) { one.style.background = one.style.color = one.title = ""; delete one.dataset.weight; }
  to.forEach((one, i) => {
    const color = colors[shade(ratio(row[i], limits[token]))];
    one.style.background = `rgb(${color})`;
    one.style.color = readable(color);
    one.dataset.weight = row[i];
    one.title = percent(row[i]);
  });
  keyTokens.forEach((one, k) => one.classList.toggle("left-out", leftOut(k)));
  from[token].classList.add("from");
  from[token].tabIndex = 0;
  if (pinned !== null && pinned.direction === state.direction) from[pinned.token].classList.add("pinned");
  const sum = row.reduce((a, b) => a + b, 0), verb = outward() ? "attends to" : "is attended to by";
  element("from").textContent = `${capital(headName(layer, head))}: ${named(sources()[token], token)} ${verb}` + (sum > 0 ? "" : " nothing");
  const order = row.map((_, i) => i).filter(i => row[i] > 0).sort((a, b) => row[b] - row[a] || a - b).slice(0, 10);
  bars(element("most"), order.map(i => [named(names[i], i), row[i]]), largest);
  showScale(limits[token]);
  showNext();
  showMark();
  drawLines();
}

function showScale(limit) {
  const at = t => limit * Math.pow(t, 1 / state.power);
  const digits = limit >= 0.1 ? 0 : limit >= 0.01 ? 1 : 2;
  const texts = [0, 0.5, 1].map(t => (100 * at(t)).toFixed(t === 0.5 ? digits + 1 : digits).replace(/\.0+$/, "") + " %");
  element("ticks").replaceChildren(...texts.map(text => Object.assign(document.createElement("span"), { textContent: text })));
  element("legend").setAttribute("aria-label", `Color scale from 0 to ${texts[2]}; half of it is ${texts[1]}`);
}

function showNext() {
  const found = data.next && outward() ? data.next[state.token] : null;
  element("next-part").hidden = !found;
  if (!found) return;
  element("next-name").textContent = `Next token after ${named(queries[state.token], state.token)}`;
  bars(element("next"), found, found[0][1]);
}

function scrollToToken() {
  const token = (outward() ? queryTokens : keyTokens)[state.token], box = token.parentElement;
  if (token.offsetTop < box.scrollTop || token.offsetTop + token.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = token.offsetTop - box.clientHeight / 2;
}

// ---------------------------------------------------------------- matrix

const FONT = "12px ui-monospace, monospace";
const measure = document.createElement("canvas").getContext("2d");
const short = name => name.length > 14 ? name.slice(0, 13) + "…" : name;
measure.font = FONT;
const longest = names => Math.ceil(names.reduce((most, n) => Math.max(most, measure.measureText(short(n)).width), 0)) + 8;
const room = { queries: longest(queries), keys: longest(keys) }; // for the labels, in pixels
const layout = { left: 0, top: 0, wide: 1, high: 1 }; // space for the labels, size of a cell

/** A canvas of some CSS pixels, sharp on every screen. */
function sized(canvas, width, height) {
  const density = Math.min(devicePixelRatio || 1, 16000 / Math.max(width, height));
  canvas.width = Math.round(width * density); canvas.height = Math.round(height * density);
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(density, density);
  context.font = FONT;
  context.fillStyle = css("--ink");
  context.textBaseline = "middle";
  return context;
}

function drawMatrix() {
  const canvas = element("matrix"), width = canvas.closest("figure").clientWidth;
  layout.left = room.queries; layout.top = room.keys;
  const across = Math.floor((width - layout.left - 4) / nKeys), down = Math.floor(620 / nQueries);
  const side = clamp(Math.min(across, down), 2, 26); // cells are square unless there are few queries or few keys
  layout.wide = Math.max(side, Math.min(14, across)); layout.high = Math.max(side, Math.min(14, down));
  const { left, top, wide, high } = layout;
  const context = sized(canvas, left + nKeys * wide + 1, top + nQueries * high + 1);
  const cells = document.createElement("canvas");
  fill(cells, nQueries, nKeys, (q, k) => shade(ratio(matrix[q * nKeys + k], limits[outward() ? q : k])));
  context.imageSmoothingEnabled = false;
  context.drawImage(cells, left, top, nKeys * wide, nQueries * high);
  context.strokeStyle = css("--line");
  context.strokeRect(left - 0.5, top - 0.5, nKeys * wide + 1, nQueries * high + 1);
  context.textAlign = "right";
  for (let q = 0; q < nQueries; q += Math.ceil(13 / high)) context.fillText(short(queries[q]), left - 4, top + (q + 0.5) * high);
  context.textAlign = "left";
  for (let k = 0; k < nKeys; k += Math.ceil(13 / wide)) {
    context.save();
    context.translate(left + (k + 0.5) * wide, top - 4);
    context.rotate(-Math.PI / 2);
    context.fillText(short(keys[k]), 0, 0);
    context.restore();
  }
  canvas.setAttribute("aria-label", `Matrix of ${headName(state.layer, state.head)}: ${nQueries} queries, ${nKeys} keys`);
}

function showMark() {
  const { left, top, wide, high } = layout, style = element("mark").style, token = state.token;
  const box = outward() ? [left, top + token * high, nKeys * wide, high] : [left + token * wide, top, wide, nQueries * high];
  ["left", "top", "width", "height"].forEach((side, i) => { style[side] = `${box[i]}px`; });
}

function cellAt(event) {
  const box = element("matrix").getBoundingClientRect(), { left, top, wide, high } = layout;
  const query = Math.floor((event.clientY - box.top - top) / high), key = Math.floor((event.clientX - box.left - left) / wide);
  return query >= 0 && query < nQueries && key >= 0 && key < nKeys ? [query, key] : null;
}
function overMatrix(event) {
  const found = cellAt(event);
  if (!found) return null;
  const [query, key] = found;
  element("cell").textContent = `${named(queries[query], query)} → ${named(keys[key], key)}: ${percent(matrix[query * nKeys + key])}`;
  return outward() ? query : key;
}
element("matrix").addEventListener("pointermove", event => { const token = overMatrix(event); if (token !== null) point(token); });
element("matrix").addEventListener("pointerleave", leave);
element("matrix").addEventListener("click", event => { const token = overMatrix(event); if (token !== null) pin(token); });

// ---------------------------------------------------------------- lines

const MANY = 48; // with more tokens, only the lines of one token are shown
function drawLines() {
  const rows = Math.max(nQueries, nKeys), height = rows > MANY ? 14 : 20, width = Math.min(560, element("lines-part").clientWidth - 2);
  element("lines-part").hidden = rows * height > 30000;
  if (element("lines-part").hidden) return;
  const canvas = element("lines"), context = sized(canvas, width, rows * height + 4);
  const left = Math.min(room.queries, width / 3), right = width - Math.min(room.keys, width / 3);
  const y = i => (i + 0.5) * height + 2, ink = css("--ink"), accent = css("--accent");
  const draw = (q, k, strength, color) => {
    context.globalAlpha = strength; context.strokeStyle = color; context.lineWidth = 0.5 + 2.5 * strength;
    context.beginPath(); context.moveTo(left, y(q)); context.lineTo(right, y(k)); context.stroke();
  };
  const strength = (q, k) => Math.pow(ratio(matrix[q * nKeys + k], limits[outward() ? q : k]), state.power);
  if (rows <= MANY) for (let q = 0; q < nQueries; q++) for (let k = 0; k < nKeys; k++) {
    const s = strength(q, k);
    if (s > 0.02) draw(q, k, 0.35 * s, ink);
  }
  targets().forEach((_, i) => {
    const [q, k] = outward() ? [state.token, i] : [i, state.token], s = strength(q, k);
    if (s > 0.02) draw(q, k, s, accent);
  });
  context.globalAlpha = 1;
  for (const [names, x, align, chosen] of [[queries, left - 5, "right", outward()], [keys, right + 5, "left", !outward()]]) {
    context.textAlign = align;
    names.forEach((name, i) => {
      context.fillStyle = chosen && i === state.token ? accent : ink;
      context.font = chosen && i === state.token ? `bold ${FONT}` : FONT;
      context.fillText(short(name), x, y(i));
    });
  }
  const scroll = element("lines-scroll"), middle = y(state.token);
  if (!scroll.matches(":hover") && (middle < scroll.scrollTop || middle > scroll.scrollTop + scroll.clientHeight))
    scroll.scrollTop = middle - scroll.clientHeight / 2;
  const verb = outward() ? "attends to" : "is attended to by";
  canvas.setAttribute("aria-label", `Lines from ${named(sources()[state.token], state.token)} to what it ${verb}`);
}
function lineAt(event) {
  const box = element("lines").getBoundingClientRect(), side = event.clientX - box.left < box.width / 2 ? "out" : "in";
  const rows = Math.max(nQueries, nKeys), i = Math.floor((event.clientY - box.top - 2) / ((box.height - 4) / rows));
  return i >= 0 && i < (side === "out" ? nQueries : nKeys) ? [side, i] : null;
}
element("lines").addEventListener("click", event => {
  const found = lineAt(event);
  if (!found) return;
  if (state.direction !== found[0]) { setDirection(found[0]); state.token = found[1]; pinned = null; }
  pin(found[1]);
});
element("lines").addEventListener("pointermove", event => {
  const found = lineAt(event);
  if (found && event.pointerType === "mouse" && found[0] === state.direction) point(found[1]);
});
element("lines").addEventListener("pointerleave", leave);

// ---------------------------------------------------------------- all heads

let thumbnails = [];
function makeThumbnails() {
  const grid = element("overview"), sorted = state.sort !== "layer", columns = heads > 1 ? [...Array(heads).keys(), MEAN] : [0];
  grid.replaceChildren();
  const label = text => { const span = document.createElement("span"); span.textContent = text; grid.append(span); };
  grid.style.gridTemplateColumns = sorted ? "repeat(auto-fill, minmax(66px, 1fr))" : `auto repeat(${columns.length}, minmax(26px, 9rem))`;
  let order = Array.from({ length: layers }, (_, l) => columns.map(h => ({ layer: l, head: h }))).flat();
  if (sorted) {
    const score = KINDS[state.sort][1];
    order = order.filter(one => one.head !== MEAN || heads === 1).map(one => ({ ...one, score: score(raw(one.layer, one.head)) }));
    order.sort((a, b) => b.score - a.score);
  } else {
    label("");
    columns.forEach(h => label(h === MEAN ? "mean" : h));
  }
  thumbnails = order.map(one => {
    if (!sorted && one.head === columns[0]) label(one.layer);
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    button.type = "button";
    button.append(canvas);
    if (sorted) {
      const text = document.createElement("b"), entropic = state.sort === "focused" || state.sort === "broad";
      one.value = entropic ? `${Math.abs(one.score).toFixed(1)} bits` : `${Math.round(100 * one.score)} %`;
      text.textContent = `${one.layer}.${one.head}  ${one.value}`;
      button.append(text);
    }
    button.title = capital(headName(one.layer, one.head)) + (sorted ? `: ${KINDS[state.sort][0]} ${one.value}` : "");
    button.setAttribute("aria-label", button.title);
    button.addEventListener("click", () => choose(one.layer, one.head));
    grid.append(button);
    return { ...one, button, canvas };
  });
}

/** Each pixel of a thumbnail is the maximum of the weights that it covers, so that no line is lost. */
function paintThumbnails() {
  const pixels = Math.max(8, Math.round((thumbnails[0].canvas.clientWidth || 26) * (devicePixelRatio || 1)));
  const rows = Math.min(nQueries, pixels), columns = Math.min(nKeys, pixels);
  const across = Uint16Array.from({ length: nKeys }, (_, k) => Math.floor(k * columns / nKeys));
  for (const { layer, head, canvas } of thumbnails) {
    const shown = effective(layer, head), ends = limitsOf(shown), pooled = new Float32Array(rows * columns);
    for (let q = 0, i = 0; q < nQueries; q++) {
      const start = Math.floor(q * rows / nQueries) * columns;
      for (let k = 0; k < nKeys; k++, i++) {
        if (shown[i] === 0) continue;
        const r = ratio(shown[i], ends[outward() ? q : k]), cell = start + across[k];
        if (r > pooled[cell]) pooled[cell] = r;
      }
    }
    fill(canvas, rows, columns, (y, x) => shade(pooled[y * columns + x]));
  }
}

// ---------------------------------------------------------------- settings

function showHead() {
  element("layer").value = state.layer;
  element("head").value = state.head;
  for (const name of ["scale", "power", "sort"]) element(name).value = String(state[name]);
  for (const name of ["first", "special", "renormalize"]) element(name).checked = state[name];
  element("renormalize").disabled = !state.first && !state.special;
  for (const radio of document.getElementsByName("direction")) radio.checked = radio.value === state.direction;
  for (const one of thumbnails) one.button.setAttribute("aria-pressed", one.layer === state.layer && one.head === state.head);
  state.token = clamp(state.token, 0, sources().length - 1);
  matrix = effective(state.layer, state.head);
  limits = limitsOf(matrix);
  element("kind").textContent = `${capital(headName(state.layer, state.head))}: ${describe(raw(state.layer, state.head))}`;
  drawMatrix();
  showToken();
}
function showAll() { showHead(); paintThumbnails(); }
function setDirection(direction) { state.direction = direction; pinned = null; state.pinned = false; showAll(); }
function update(change) { change(); showAll(); toAddress(); }

for (let i = 0; i < layers; i++) element("layer").append(new Option(i, i));
for (let i = 0; i < heads; i++) element("head").append(new Option(i, i));
if (heads > 1) element("head").append(new Option("mean", MEAN));
element("sort").append(new Option("layer", "layer"), ...Object.entries(KINDS).map(([key, [name]]) => new Option(name, key)));
for (const name of ["layer", "head"]) element(name).addEventListener("change", () => choose(+element("layer").value, +element("head").value));
element("scale").addEventListener("change", () => update(() => { state.scale = element("scale").value; }));
element("power").addEventListener("change", () => update(() => { state.power = +element("power").value; }));
for (const name of ["first", "special", "renormalize"])
  element(name).addEventListener("change", () => update(() => { state[name] = element(name).checked; }));
for (const radio of document.getElementsByName("direction"))
  radio.addEventListener("change", () => { setDirection(radio.value); toAddress(); });
element("sort").addEventListener("change", () => update(() => { state.sort = element("sort").value; makeThumbnails(); }));
element("theme").addEventListener("click", () => update(() => { state.theme = isDark() ? "light" : "dark"; applyTheme(); }));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { applyTheme(); showAll(); });
element("controls").addEventListener("submit", event => event.preventDefault());
element("special").disabled = !special.some(Boolean);
element("size").textContent = `${layers} layer${layers > 1 ? "s" : ""} · ${heads} head${heads > 1 ? "s" : ""} · ` +
  (crossed ? `${nQueries} queries · ${nKeys} keys` : `${nQueries} token${nQueries > 1 ? "s" : ""}`);

for (const box of [element("queries"), element("keys")]) {
  box.addEventListener("pointerleave", leave);
  box.addEventListener("keydown", event => {
    const n = sources().length, steps = { ArrowLeft: -1, ArrowRight: 1, Home: -n, End: n };
    if (event.key in steps) {
      point(clamp(state.token + steps[event.key], 0, n - 1));
      (outward() ? queryTokens : keyTokens)[state.token].focus();
    } else if (event.key === "ArrowDown") choose(state.layer, state.head + 1);
    else if (event.key === "ArrowUp") choose(state.layer, state.head === MEAN ? heads - 1 : state.head - 1 + (state.head === 0 ? heads : 0));
    else if (event.key === "PageDown") choose(state.layer + 1, state.head);
    else if (event.key === "PageUp") choose(state.layer - 1, state.head);
    else return;
    toAddress();
    event.preventDefault();
  });
}
addEventListener("hashchange", () => {
  Object.assign(state, DEFAULTS, fromAddress());
  pinned = fromState();
  applyTheme(); makeThumbnails(); showAll(); scrollToToken();
});
let waiting = 0;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(showAll, 150); });

applyTheme();
makeThumbnails();
showAll();
scrollToToken();
