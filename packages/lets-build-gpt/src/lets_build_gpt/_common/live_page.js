// Vendored: edit shared/vendored/live_page.js and run `nox -s vendor`.
// What the live pages share: the content of the page, the theme, bars, matrices of attention weights.

const find = (selector) => document.querySelector(selector);

const page = {
  content: JSON.parse(find("#content").textContent),
  get tensors() {
    const tensors = readTensors(this.content.tensors, find("#weights").textContent);
    Object.defineProperty(this, "tensors", { value: tensors });
    return tensors;
  },
};

// A new element with properties and children.
function element(name, properties = {}, ...children) {
  const created = Object.assign(document.createElement(name), properties);
  created.append(...children);
  return created;
}

// Whitespace and control characters as visible characters.
function visible(text) {
  const shown = { " ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍" };
  return text.replace(/[ \n\t\r]/g, (c) => shown[c]).replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16)}`);
}

const percent = (p) => `${(100 * p).toFixed(1)} %`;

// Fill a list with one bar per [name, probability], most probable first.
function showBars(list, entries) {
  list.replaceChildren(...entries.map(([name, p]) => {
    const bar = element("span", { className: "bar" });
    bar.style.width = `${100 * p}%`;
    const track = element("span", { className: "track" }, bar);
    return element("li", {}, element("span", { className: "name", textContent: name }), track,
      element("span", { className: "value", textContent: percent(p) }));
  }));
}

// The `n` most probable ids as [name, probability].
function mostProbable(probabilities, names, n = 8) {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  return order.slice(0, n).map((id) => [visible(names[id]), probabilities[id]]);
}

// The color of an attention weight in the theme of the page, as [r, g, b].
function weightColor(weight) {
  const [from, to] = document.documentElement.dataset.theme === "dark"
    ? [[30, 28, 42], [127, 180, 255]] : [[255, 255, 255], [35, 38, 255]];
  return from.map((value, i) => Math.round(value + (to[i] - value) * Math.sqrt(weight)));
}

// Draw rows of attention weights (row: query, column: key), one pixel per weight.
function drawWeights(canvas, rows, columns) {
  canvas.width = Math.max(1, columns);
  canvas.height = Math.max(1, rows.length);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < canvas.height * canvas.width; i++) {
    const weight = rows[Math.floor(i / canvas.width)]?.[i % canvas.width] ?? 0;
    image.data.set([...weightColor(weight), 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

// Let the button switch the theme; `redraw` runs afterwards.
function useTheme(redraw) {
  const root = document.documentElement;
  root.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  find("#theme").onclick = () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    redraw();
  };
}
