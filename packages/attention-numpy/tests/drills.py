"""Probes for drills: what a mistake in this package may change. `tools/drill_probes.py` describes the results."""

import math

import numpy as np
from attention_numpy import (
    Adam,
    AdamW,
    Dropout,
    Embedding,
    LayerNorm,
    Parameter,
    ParameterVector,
    ReLU,
    Transformer,
    TransformerConfig,
    clip_gradients,
    cross_entropy,
    noam,
    sinusoid,
)
from attention_numpy.functional import softmax
from attention_numpy.generate import generate
from attention_numpy.gradcheck import check_layer, check_model
from attention_numpy.layers import new_rng
from attention_numpy.model import causal_mask

VOCAB, LENGTH, STEPS, EVERY = 8, 5, 320, 20


def config(**changes):
    sizes = {"d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 32, "dropout": 0.05, "norm": "post"}
    return TransformerConfig(VOCAB, VOCAB, **{**sizes, **changes})


def pairs(rng, count):
    """Texts of 3 to 5 ids and the same texts reversed, between <s> = 1 and </s> = 2; 0 is padding."""
    src, tgt = np.zeros((count, LENGTH), int), np.zeros((count, LENGTH + 2), int)
    for row in range(count):
        ids = rng.integers(3, VOCAB, rng.integers(3, LENGTH + 1))
        src[row, : len(ids)] = ids
        tgt[row, : len(ids) + 2] = [1, *ids[::-1], 2]
    return src, tgt


_TRAINED = {}


def trained(seed):
    """Train a small Transformer to reverse texts; return the model and the mean loss of every 20 steps."""
    if seed not in _TRAINED:
        rng, model = np.random.default_rng(seed), Transformer(config(), seed=seed)
        optimizer = Adam(model.parameters(), schedule=noam(16, 60, 0.7))
        losses = []
        for _ in range(STEPS):
            src, tgt = pairs(rng, 32)
            optimizer.zero_grad()
            loss, dlogits = cross_entropy(model(src, tgt[:, :-1]), tgt[:, 1:], label_smoothing=0.1, ignore_index=0)
            model.backward(dlogits)
            clip_gradients(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss)
        _TRAINED[seed] = model, np.array(losses).reshape(-1, EVERY).mean(1)
    return _TRAINED[seed]


def finite(values):
    return [float(v) if math.isfinite(v) else None for v in np.ravel(values)]


def training_loss(seed):
    _, losses = trained(seed)
    return {"kind": "curve", "x": list(range(EVERY, STEPS + 1, EVERY)), "y": finite(losses)}


def held_out(seed):
    """Exact matches of greedy decoding. Weights come from training, so this is a curve with one point."""
    model, _ = trained(seed)
    src, tgt = pairs(np.random.default_rng(1000), 200)
    found = generate(model, src, max_new_tokens=LENGTH + 1)
    right = [row == [i for i in wanted[1:] if i > 2] for row, wanted in zip(found, tgt.tolist(), strict=True)]
    return {"kind": "curve", "x": [STEPS], "y": [float(np.mean(right))]}


def untrained(seed, **changes):
    model = Transformer(config(dropout=0.0, **changes), seed=seed, dtype=np.float64)
    model.parameters().data += 0.3 * np.random.default_rng(5).normal(size=model.num_parameters())
    return model.eval()


def attention_maps(seed):
    src, tgt = pairs(np.random.default_rng(2), 3)
    short = int((src != 0).sum(1).argmin())
    _, weights = untrained(seed)(src, tgt[:, :-1], return_intermediates=True)
    rows = [weights[name][short, 0] for name in weights if name.endswith(("0.self_attn", "0.multihead_attn"))]
    width = max(w.shape[1] for w in rows)
    blank = [0.0] * width
    lines = []
    for w in rows:
        lines += [[*map(float, row), *blank[len(row) :]] for row in w] + [blank]
    return {"kind": "map", "rows": lines[:-1]}


def slopes(norm, tie, seed):
    rows = check_model(norm, tie, dropout=0.2, label_smoothing=0.1, seed=3)
    found = {}
    for row in rows:
        found[row.name] = finite([row.analytic, row.numeric])
    return {"kind": "gradients", "rows": found}


def gradients(seed):
    return slopes("post", False, seed)


def gradients_of_tied_embeddings(seed):
    return slopes("pre", True, seed)


def gradients_of_single_layers(seed):
    rng, rows = np.random.default_rng(3), {}
    layers = {
        "LayerNorm": (LayerNorm(6, dtype=np.float64), (rng.normal(size=(4, 6)),)),
        "ReLU": (ReLU(), (rng.normal(size=(4, 6)),)),
        "Embedding": (Embedding(5, 4, dtype=np.float64), (np.array([[1, 3, 1, 1]]),)),
    }
    for name, (layer, inputs) in layers.items():
        for _, parameter in layer.named_parameters():
            parameter.data += 0.3 * rng.normal(size=parameter.data.shape)
        rows |= {f"{name}, {r.name}": finite([r.analytic, r.numeric]) for r in check_layer(layer, *inputs)}
    layer = ReLU()
    layer.forward(np.zeros((1, 2)))
    rows["ReLU, input 0 at exactly 0"] = [float(layer.backward(np.ones((1, 2))).sum()), 0.0]
    return {"kind": "gradients", "rows": rows}


def numbers_of_layers(seed):
    x = np.random.default_rng(4).normal(size=(2, 6)).astype(np.float32)
    mask = np.array([[True, True, False, True, True, False], [False] * 6])
    norm, embedding = LayerNorm(6), Embedding(9, 16)
    dropped = Dropout(0.25, rng=new_rng(1)).forward(np.ones((64, 64), np.float32))
    evaluated = Dropout(0.25, rng=new_rng(1)).eval().forward(np.ones((64, 64), np.float32))
    with np.errstate(all="ignore"):
        y, huge, hidden = norm.forward(x), softmax(x * np.float32(500)), softmax(x, mask)
        hidden_huge = softmax(x * np.float32(500), mask)
        constant = norm.forward(np.full((1, 6), np.float32(3.3)))
        embedded = embedding.forward(np.array([[1, 2, 3]]))
    return {
        "kind": "numbers",
        "rows": {
            "LayerNorm: variance of a row of y": number(y[0].var()),
            "LayerNorm: y of a constant row": number(np.abs(constant).max()),
            "softmax of numbers near 1,000: sum of a row": number(huge[0].sum()),
            "softmax of a row that is masked everywhere: sum": number(hidden[1].sum()),
            "the same of numbers near 1,000: sum": number(hidden_huge[1].sum()),
            "embedding: standard deviation of x": number(embedded.std()),
            "embedding: dtype of x for float32 weights": str(embedded.dtype),
            "dropout 0.25 of ones in training: mean": number(dropped.mean()),
            "dropout 0.25 of ones in evaluation: mean": number(evaluated.mean()),
            "positional encoding: largest value in column 0": number(sinusoid(50, 8)[:, 0].max()),
            "positional encoding: value at position 0, column 1": number(sinusoid(50, 8)[0, 1]),
            "positional encoding: value at position 9, column 6": number(sinusoid(50, 8)[9, 6]),
        },
    }


def number(value):
    return float(value) if math.isfinite(value) else "NaN"


def invariances(seed):
    model = untrained(seed)
    src, tgt = pairs(np.random.default_rng(6), 4)
    src, tgt = src[:, :3], tgt[:, :4]
    base = model(src, tgt)
    later, own = tgt.copy(), tgt.copy()
    later[:, 3], own[:, 1] = later[:, 3] % 5 + 3, own[:, 1] % 5 + 3
    other = src.copy()
    other[:, 0] = other[:, 0] % 5 + 3
    return {
        "kind": "numbers",
        "rows": {
            "change of earlier logits when a later target id changes": size(model(src, later)[:, :3] - base[:, :3]),
            "change of logits when two padding ids are added to the source": size(
                model(np.pad(src, ((0, 0), (0, 2))), tgt) - base
            ),
            "change of logits when a source id changes (0: no attention to the source)": answer(
                size(model(other, tgt) - base) > 1e-3
            ),
            "the mask of 3 positions allows": " ".join(
                "".join("x" if m else "." for m in row) for row in causal_mask(3)
            ),
        },
    }


def answer(yes):
    return "yes" if yes else "no"


def size(difference):
    value = float(np.abs(difference).max())
    return "NaN" if not math.isfinite(value) else 0.0 if value < 1e-9 else value


def one_weight(seed):
    """Ten steps of each optimizer on one weight whose gradient is 1."""
    rows = {}
    makers = {
        "Adam, lr 0.1": lambda p: Adam(p, 0.1, eps=1e-2),
        "AdamW, lr 0.1, weight decay 0.5": lambda p: AdamW(p, 0.1, weight_decay=0.5),
    }
    for name, make in makers.items():
        parameter = Parameter(np.ones(1))
        optimizer = make(ParameterVector({"w": parameter}))
        path = []
        for _ in range(10):
            parameter.grad = np.ones(1)
            optimizer.step()
            path.append(float(parameter.data[0]))
        rows |= {f"{name}: w after step {i}": path[i - 1] for i in (1, 2, 10)}
    two = ParameterVector({"w": Parameter(np.ones(1)), "v": Parameter(np.ones(1))})
    optimizer = Adam(two, schedule=noam(512, 4000))
    two.grad[:] = 1
    optimizer.step()
    rows["steps that the schedule has counted after 1 step"] = optimizer.t
    rows |= {f"warm-up schedule at step {t:,}": noam(512, 4000)(t) for t in (1, 2000, 4000, 16000)}
    for norm in (0.5, 8.0):
        vector = ParameterVector({"w": Parameter(np.ones(1))})
        vector.grad[:] = norm
        clip_gradients(vector, 1.0)
        rows[f"gradient {norm:g} after clipping to the norm 1"] = float(vector.grad[0])
    return {"kind": "numbers", "rows": rows}


def losses(seed):
    logits, targets = np.random.default_rng(7).normal(size=(1, 4, 6)), np.array([[1, 2, 0, 0]])
    short, wanted = logits[:, :2], targets[:, :2]
    rows = {}
    for eps in (0.0, 0.1):
        whole, gradient = cross_entropy(logits, targets, label_smoothing=eps, ignore_index=0)
        alone, _ = cross_entropy(short, wanted, label_smoothing=eps, ignore_index=0)
        rows[f"smoothing {eps}: loss with two padding targets, loss without them"] = f"{whole:.4f}, {alone:.4f}"
        rows[f"smoothing {eps}: sum of a row of the gradient"] = round(float(gradient[0, 0].sum()), 6)
        rows[f"smoothing {eps}: largest gradient at a padding target"] = float(np.abs(gradient[0, 2:]).max())
    broken = logits.copy()
    broken[0, 3] = np.nan
    rows["loss with NaN at a padding target"] = number(cross_entropy(broken, targets, ignore_index=0)[0])
    return {"kind": "numbers", "rows": rows}


def decoding(seed):
    model = untrained(seed)
    src, _ = pairs(np.random.default_rng(8), 5)
    lines = []
    for beam_size in (1, 4):
        found = generate(model, src, max_new_tokens=8, beam_size=beam_size)
        for ids, row in zip(src.tolist(), found, strict=True):
            lines.append(f"beam {beam_size}, {' '.join(str(i) for i in ids if i)} -> {' '.join(map(str, row))}")
    return {"kind": "text", "lines": lines}


def cached_and_uncached(seed):
    from attention_numpy.generate import DecoderState

    model = untrained(seed)
    src, tgt = pairs(np.random.default_rng(9), 3)
    state = DecoderState(model, src, 1, 2)
    memory = model.encode(src)
    rows = {}
    for step in range(4):
        fast = state.step(tgt[:, step])
        slow = model.decode(tgt[:, : step + 1], memory, src)[:, -1]
        kept = [i for i in range(VOCAB) if i not in state.banned]
        rows[f"logits with the cache minus those without it, at position {step}"] = size(fast[:, kept] - slow[:, kept])
    return {"kind": "numbers", "rows": rows}


PROBES = {
    "training loss": training_loss,
    "exact matches on held-out texts": held_out,
    "greedy decoding and beam search with random weights": decoding,
    "gradients against difference quotients": gradients,
    "gradients with tied embeddings and pre-norm": gradients_of_tied_embeddings,
    "gradients of single layers": gradients_of_single_layers,
    "attention weights (encoder, decoder, cross-attention; head 0; a text with padding)": attention_maps,
    "numbers of single layers": numbers_of_layers,
    "what must not change the output": invariances,
    "one weight under each optimizer": one_weight,
    "the loss with padding": losses,
    "decoding with and without the cache": cached_and_uncached,
}
