"""Time each textbook function of `textbook.py` against its fast twin, interleaved, by CPU time on one thread.

`twins.py [FILE]`, `results/twins.json` by default; about a minute. float32, batch 32, length 32, d_model 128, 4 heads.
Forward and backward pass together, after one warm-up round; rows hold the median speedup of 5 rounds, minimum and
maximum.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from attention_numpy import LayerNorm, Linear, Transformer, TransformerConfig, cross_entropy, textbook
from attention_numpy._common.malloc import keep_freed_memory
from attention_numpy.attention import scaled_dot_product_attention, scaled_dot_product_attention_backward
from attention_numpy.functional import softmax, softmax_backward
from dlpapers_shared.timing import compare, write_record

BATCH, TIME, WIDTH, HEADS, LAYERS, VOCAB, ROUNDS = 32, 32, 128, 4, 2, 100, 5
Call = Callable[[], object]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return float32 samples of a standard normal distribution."""
    return rng.normal(size=shape).astype(np.float32)


def repeated(call: Call, times: int = 20) -> Call:
    """Return a call that is long enough for the clock."""
    return lambda: [call() for _ in range(times)]


def softmaxes(rng: np.random.Generator) -> tuple[Call, Call]:
    """Return both versions of softmax and its backward pass on scores (batch, heads, queries, keys)."""
    x, dp = normal(rng, BATCH, HEADS, TIME, TIME), normal(rng, BATCH, HEADS, TIME, TIME)
    return (
        repeated(lambda: softmax_backward(dp, softmax(x))),
        repeated(lambda: textbook.softmax_backward(dp, textbook.softmax(x))),
    )


def attentions(rng: np.random.Generator) -> tuple[Call, Call]:
    """Return both versions of attention and its backward pass: all heads at once, and one head after the other."""
    q, k, v, do = (normal(rng, BATCH, HEADS, TIME, WIDTH // HEADS) for _ in range(4))
    mask = np.tril(np.ones((TIME, TIME), bool))

    def fast() -> None:
        _, p, dropped = scaled_dot_product_attention(q, k, v, mask)
        scaled_dot_product_attention_backward(do, q, k, v, p, dropped)

    def read() -> None:
        for i in range(HEADS):
            _, saved = textbook.attention(q[:, i], k[:, i], v[:, i], mask)
            textbook.attention_backward(do[:, i], saved)

    return repeated(fast), repeated(read)


def layer_norms(rng: np.random.Generator) -> tuple[Call, Call]:
    """Return both versions of LayerNorm and its backward pass."""
    x, dy, layer = normal(rng, BATCH, TIME, WIDTH), normal(rng, BATCH, TIME, WIDTH), LayerNorm(WIDTH)

    def fast() -> None:
        layer.forward(x)
        layer.backward(dy)

    def read() -> None:
        textbook.layer_norm_backward(dy, textbook.layer_norm(x, layer.weight.data, layer.bias.data)[1])

    return repeated(fast), repeated(read)


def linears(rng: np.random.Generator) -> tuple[Call, Call]:
    """Return both versions of the affine map and its backward pass."""
    x, dy, layer = normal(rng, BATCH, TIME, WIDTH), normal(rng, BATCH, TIME, WIDTH), Linear(WIDTH, WIDTH)

    def fast() -> None:
        layer.forward(x)
        layer.backward(dy)

    def read() -> None:
        textbook.linear(x, layer.weight.data, layer.bias.data)
        textbook.linear_backward(dy, x, layer.weight.data)

    return repeated(fast), repeated(read)


def models(rng: np.random.Generator) -> tuple[Call, Call]:
    """Return both versions of loss and gradients of the whole model, without dropout."""
    model = Transformer(TransformerConfig(VOCAB, VOCAB, WIDTH, HEADS, LAYERS, 4 * WIDTH, dropout=0.0))
    weights = model.state_dict()
    src, tgt, targets = (rng.integers(1, VOCAB, (BATCH, TIME)) for _ in range(3))

    def fast() -> None:
        model.parameters().zero_grad()
        model.backward(cross_entropy(model(src, tgt), targets, label_smoothing=0.1, ignore_index=0)[1])

    def read() -> None:
        logits, saved = textbook.transformer(weights, HEADS, LAYERS, src, tgt)
        textbook.transformer_backward(textbook.cross_entropy(logits, targets, 0.1)[1], weights, saved)

    return fast, read


PARTS = {
    "softmax": softmaxes,
    "attention, 4 heads": attentions,
    "LayerNorm": layer_norms,
    "linear map": linears,
    "whole model, loss and gradients": models,
}


def main() -> None:
    """Measure every pair and write the record."""
    keep_freed_memory()
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "results" / "twins.json"
    rows: list[dict[str, object]] = []
    for what, pair in PARTS.items():
        fast, read = pair(np.random.default_rng(0))
        times = compare(fast, {"textbook": read}, rounds=ROUNDS, warmup=1)
        rows.append({"what": what, "baseline": "textbook", **times.columns("textbook"), "rounds": ROUNDS})
        print(rows[-1], flush=True)
    write_record(
        path,
        title="Speedup of the fast versions over the textbook versions",
        command="python benchmarks/twins.py",
        seed=0,
        rows=rows,
        distributions=["numpy"],
        dtype="float32",
        note="Speedup: CPU time of the textbook version divided by that of the fast version, forward and backward "
        "pass, one thread, median over interleaved rounds, with minimum and maximum. Batch 32, length 32, d_model 128, "
        "4 heads; the model has 2+2 layers, d_ff 512, no dropout, no padding.",
    )


if __name__ == "__main__":
    main()
