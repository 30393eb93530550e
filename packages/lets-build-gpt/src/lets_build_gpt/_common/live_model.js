// Vendored: edit shared/vendored/live_model.js and run `nox -s vendor`.
// The forward pass of a Transformer ("Attention Is All You Need", 1706.03762), one token at a time, without a library.
// Vectors are Float32Array, sums are computed in float64. Weights have the shape (out, in).
"use strict";

// ------------------------------------------------------------------------------------------------- weights

// Float32 values of base64 text that holds float16 numbers, least significant byte first.
function decodeFloat16(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const halves = new Uint16Array(bytes.buffer); // all browsers run on little-endian machines
  return Float32Array.from(halves, (half) => {
    const sign = half >> 15 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  });
}

// The tensors of a page by name: {shape, data}. `table` holds [shape, offset] for each name.
function readTensors(table, base64) {
  const all = decodeFloat16(base64);
  const tensors = {};
  for (const [name, [shape, offset]] of Object.entries(table)) {
    const size = shape.reduce((a, b) => a * b, 1);
    tensors[name] = { shape, data: all.subarray(offset, offset + size) };
  }
  return tensors;
}

// --------------------------------------------------------------------------------------------- small functions

// W x + b
function linear(x, weight, bias) {
  const [rows, columns] = weight.shape, w = weight.data;
  const y = new Float32Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = bias ? bias.data[i] : 0;
    for (let j = 0, at = i * columns; j < columns; j++) sum += w[at + j] * x[j];
    y[i] = sum;
  }
  return y;
}

const add = (x, y) => x.map((value, i) => value + y[i]);

// Row `id` of an embedding.
const row = (table, id) => table.data.subarray(id * table.shape[1], (id + 1) * table.shape[1]);

// (x - mean) / sqrt(variance + eps) * gain + bias   (1607.06450); bias may be missing
function layerNorm(x, gain, bias, eps) {
  let mean = 0, variance = 0;
  for (const value of x) mean += value / x.length;
  for (const value of x) variance += (value - mean) ** 2 / x.length;
  const scale = 1 / Math.sqrt(variance + eps);
  return x.map((value, i) => (value - mean) * scale * gain.data[i] + (bias ? bias.data[i] : 0));
}

// x / sqrt(mean of squares + eps) * gain   (1910.07467); gain may be missing
function rmsNorm(x, gain, eps) {
  let squares = 0;
  for (const value of x) squares += value ** 2 / x.length;
  const scale = 1 / Math.sqrt(squares + eps);
  return x.map((value, i) => value * scale * (gain ? gain.data[i] : 1));
}

// exp(x / temperature) / sum; at temperature 0 the largest value has probability 1
function softmax(x, temperature = 1) {
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  if (temperature === 0) {
    const best = x.indexOf(max);
    return x.map((_, i) => Number(i === best));
  }
  const exps = Float64Array.from(x, (value) => Math.exp((value - max) / temperature));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((value) => value / sum);
}

// The error function with an error below 1.5e-7: Abramowitz and Stegun, 7.1.26.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const polynomial = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - polynomial * Math.exp(-x * x));
}

const activations = {
  relu: (x) => Math.max(0, x),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)), // 1606.08415
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))), // as GPT-2
  silu: (x) => x / (1 + Math.exp(-x)),
};

// --------------------------------------------------------------------------------------------------- layers

// softmax(q K^T / sqrt(d_k)) V for one query and every head   (Eq. 1). `weights` has one row per head.
function attend(q, keys, values, nHeads) {
  const dK = q.length / nHeads;
  const out = new Float32Array(q.length);
  const weights = [];
  for (let head = 0; head < nHeads; head++) {
    const from = head * dK;
    const scores = keys.map((key) => {
      let sum = 0;
      for (let i = from; i < from + dK; i++) sum += q[i] * key[i];
      return sum / Math.sqrt(dK);
    });
    const p = softmax(scores);
    values.forEach((value, position) => {
      for (let i = from; i < from + dK; i++) out[i] += p[position] * value[i];
    });
    weights.push(p);
  }
  return { out, weights };
}

// One layer: self-attention, in a decoder of an encoder-decoder cross-attention, then the feed-forward network, each
// on a residual branch. `get(name)` returns a tensor or undefined.
class Layer {
  constructor(get, config) {
    this.get = get;
    this.config = config;
  }

  project(name, x) {
    return linear(x, this.get(`${name}.weight`), this.get(`${name}.bias`));
  }

  norm(name, x) {
    return layerNorm(x, this.get(`${name}.weight`), this.get(`${name}.bias`), this.config.norm_eps);
  }

  // x + f(norm(x)) with pre-norm (GPT-2), norm(x + f(x)) with post-norm (1706.03762, section 3.1)
  residual(name, x, f) {
    return this.config.pre_norm ? add(x, f(this.norm(name, x))) : this.norm(name, add(x, f(x)));
  }

  feedForward(x) {
    const hidden = this.project("ffn.up", x).map(activations[this.config.activation]);
    return this.project("ffn.down", hidden); // Eq. 2
  }

  // Keys and values of a token for `attention` ("self_attn" or "cross_attn").
  keyValue(attention, x) {
    return { key: this.project(`${attention}.k`, x), value: this.project(`${attention}.v`, x) };
  }

  // The output of an attention for one token, given all keys and values; its weights go to `record`.
  attention(attention, x, cached, record) {
    const found = attend(this.project(`${attention}.q`, x), cached.keys, cached.values, this.config.n_heads);
    record[attention] = found.weights;
    return this.project(`${attention}.o`, found.out);
  }

  // One token of a decoder: its key and value join `cached`. `memory`: keys and values of the encoder's output.
  decode(x, cached, memory, record) {
    x = this.residual("norm1", x, (h) => {
      const { key, value } = this.keyValue("self_attn", h);
      cached.keys.push(key);
      cached.values.push(value);
      return this.attention("self_attn", h, cached, record);
    });
    if (memory) x = this.residual("norm2", x, (h) => this.attention("cross_attn", h, memory, record));
    return this.residual(memory ? "norm3" : "norm2", x, (h) => this.feedForward(h));
  }

  // All tokens of an encoder: each attends to all.
  encode(xs, record) {
    const normed = this.config.pre_norm ? xs.map((x) => this.norm("norm1", x)) : xs;
    const pairs = normed.map((x) => this.keyValue("self_attn", x));
    const cached = { keys: pairs.map((p) => p.key), values: pairs.map((p) => p.value) };
    return xs.map((x, i) => {
      record[i] = {};
      x = this.residual("norm1", x, (h) => this.attention("self_attn", h, cached, record[i]));
      return this.residual("norm2", x, (h) => this.feedForward(h));
    });
  }
}

// --------------------------------------------------------------------------------------------------- models

// PE(position, 2i) = sin(position / 10000^(2i / d_model)), PE(position, 2i + 1) = cos(same)   (section 3.5)
function sinusoid(position, dModel) {
  return Float32Array.from({ length: dModel }, (_, i) => {
    const angle = position / 10000 ** ((i - (i % 2)) / dModel);
    return i % 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

// A stack of layers with its embedding. Tensors: PREFIXembedding.weight, PREFIXpositions.weight (else sinusoids),
// PREFIXlayers.N.{norm1,self_attn.{q,k,v,o},cross_attn.…,norm2,norm3,ffn.{up,down}}.{weight,bias}, PREFIXnorm,
// head.{weight,bias}.
class Stack {
  constructor(tensors, config, prefix = "") {
    this.config = config;
    this.get = (name) => tensors[prefix + name];
    this.head = { weight: tensors["head.weight"] ?? this.get("embedding.weight"), bias: tensors["head.bias"] };
    this.layers = Array.from({ length: config.n_layers }, (_, i) => {
      return new Layer((name) => tensors[`${prefix}layers.${i}.${name}`], config);
    });
  }

  embed(id, position) {
    const scale = this.config.embedding_scale ?? 1;
    const token = row(this.get("embedding.weight"), id).map((value) => value * scale);
    const table = this.get("positions.weight");
    return add(token, table ? row(table, position) : sinusoid(position, this.config.d_model));
  }

  finish(x) {
    const gain = this.get("norm.weight");
    return gain ? layerNorm(x, gain, this.get("norm.bias"), this.config.norm_eps) : x;
  }

  // The output of an encoder for all ids, and the attention weights [layer][query][head][key].
  encode(ids) {
    let xs = ids.map((id, position) => this.embed(id, position));
    const attn = [];
    for (const layer of this.layers) {
      const record = [];
      xs = layer.encode(xs, record);
      attn.push(record.map((r) => r.self_attn));
    }
    return { xs: xs.map((x) => this.finish(x)), attn };
  }

  // An empty cache. `memory`: the encoder's output, whose keys and values are computed here once.
  newCache(memory) {
    return {
      length: 0,
      layers: this.layers.map(() => ({ keys: [], values: [] })),
      memory: memory && this.layers.map((layer) => {
        const pairs = memory.map((x) => layer.keyValue("cross_attn", x));
        return { keys: pairs.map((p) => p.key), values: pairs.map((p) => p.value) };
      }),
    };
  }

  // A cache that can grow independently of `cache`.
  copyCache(cache) {
    const layers = cache.layers.map(({ keys, values }) => ({ keys: [...keys], values: [...values] }));
    return { ...cache, layers };
  }

  // The next token of a decoder: logits, the residual stream after each layer, and the attention weights by layer:
  // {self_attn: [head][key], cross_attn: [head][key]}.
  step(id, cache) {
    let x = this.embed(id, cache.length);
    const attn = [], resid = [];
    this.layers.forEach((layer, i) => {
      attn.push({});
      x = layer.decode(x, cache.layers[i], cache.memory?.[i], attn[i]);
      resid.push(x);
    });
    cache.length += 1;
    return { logits: linear(this.finish(x), this.head.weight, this.head.bias), attn, resid };
  }
}

// ------------------------------------------------------------------------------------------------- sampling

// Uniform numbers in [0, 1) from a seed: the generator mulberry32.
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Probabilities of the next token: softmax(logits / temperature) over the `topK` most probable tokens (0: all).
function nextProbabilities(logits, temperature, topK) {
  let kept = logits;
  if (topK > 0 && topK < logits.length) {
    const threshold = [...logits].sort((a, b) => b - a)[topK - 1];
    kept = logits.map((value) => (value < threshold ? -Infinity : value));
  }
  return softmax(kept, temperature);
}

// An index sampled with the given probabilities.
function sample(probabilities, random) {
  let rest = random();
  for (let i = 0; i < probabilities.length; i++) {
    rest -= probabilities[i];
    if (rest < 0) return i;
  }
  return probabilities.lastIndexOf(Math.max(...probabilities)); // rounding left a rest
}
