"""Are the gradients right? Analytic against numeric ones, for any layer or model, yours too.

from attention_numpy import Linear
from attention_numpy.gradcheck import check_layer
check_layer(Linear(3, 4, dtype=np.float64), rng.normal(size=(2, 3)))   # a list of Row; row.error is below 1e-7
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_numpy.layer import Array, Layer
from attention_numpy.layers import new_rng
from attention_numpy.loss import cross_entropy
from attention_numpy.model import Norm, Transformer, TransformerConfig

STEP = 1e-6


@dataclass(frozen=True)
class Row:
    """One array: the slope of the loss along a random direction of length 1, computed in two ways."""

    name: str
    size: int
    analytic: float
    numeric: float

    @property
    def error(self) -> float:
        """|analytic - numeric| over the larger of the two (and 1e-3, below which differences are rounding)."""
        return abs(self.analytic - self.numeric) / max(abs(self.analytic), abs(self.numeric), 1e-3)


def slope(loss: Callable[[], float], array: Array, direction: Array, step: float = STEP) -> float:
    """The central difference (L(a + h u) - L(a - h u)) / 2 h; its error is of the order h^2 + rounding / h."""
    saved = array.copy()
    array += step * direction
    above = loss()
    np.subtract(saved, step * direction, out=array)
    below = loss()
    array[...] = saved
    return (above - below) / (2 * step)


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A random direction of length 1."""
    direction = rng.standard_normal(shape)
    length: Array = direction / max(float(np.sqrt((direction * direction).sum())), 1e-300)
    return length


def check(loss: Callable[[], float], arrays: Mapping[str, tuple[Array, Array]], *, seed: int = 0) -> list[Row]:
    """Rows for named (array, gradient) pairs. `loss` recomputes the loss from the arrays as they stand.

    Along a random direction every element of the array counts, at two evaluations an array, whatever its size.
    float64 is needed. Mind kinks: where a ReLU's input crosses 0 within the step, the numeric slope is wrong.
    """
    rng, rows = new_rng(seed), []
    for name, (array, gradient) in arrays.items():
        if array.dtype != np.float64:
            raise ValueError(f"{name}: {array.dtype} met, a step of {STEP} needs float64")
        direction = unit(rng, array.shape)
        analytic = float((gradient * direction).sum())
        rows.append(Row(name, array.size, analytic, slope(loss, array, direction)))
    return rows


def check_layer(layer: Layer, *inputs: Any, seed: int = 0, **keywords: Any) -> list[Row]:
    """Rows for a layer's parameters and float inputs. The loss is the product of its output with a random array.

    `layer.backward` is called once with that array; it returns the gradients of the inputs (one, a tuple, or None).
    """
    rng = new_rng(seed + 1)
    for _, parameter in layer.named_parameters():
        parameter.grad.fill(0)
    layer.train()
    output = layer.forward(*inputs, **keywords)
    weight = rng.standard_normal(output.shape)
    found = layer.backward(weight)
    gradients = found if isinstance(found, tuple) else (found,)
    arrays = {name: (p.data, p.grad) for name, p in layer.named_parameters()}
    for number, (value, gradient) in enumerate(zip(inputs, gradients, strict=False)):
        if gradient is not None:
            arrays[f"input {number}"] = (value, gradient)
    layer.eval()
    try:
        return check(lambda: float((layer.forward(*inputs, **keywords) * weight).sum()), arrays, seed=seed)
    finally:
        layer.train()


def table(rows: list[Row]) -> str:
    """The rows as text, a line each."""
    width = max(len(row.name) for row in rows)
    head = f"{'parameter':{width}} {'size':>8} {'analytic':>15} {'numeric':>15} {'rel. error':>11}"
    lines = [f"{r.name:{width}} {r.size:8d} {r.analytic:15.8e} {r.numeric:15.8e} {r.error:11.1e}" for r in rows]
    worst = max(rows, key=lambda row: row.error if math.isfinite(row.error) else math.inf)
    return "\n".join([head, *lines, f"worst: {worst.error:.1e} ({worst.name})"])


def check_model(norm: Norm, tie_embeddings: bool, dropout: float, label_smoothing: float, seed: int) -> list[Row]:
    """Rows for every parameter of a small Transformer on padded data; with dropout, its masks are held fixed."""
    vocab = 11
    sizes = (vocab, vocab if tie_embeddings else 13, 16, 4, 2, 32, dropout, norm)
    model = Transformer(TransformerConfig(*sizes, tie_embeddings=tie_embeddings), seed=seed, dtype=np.float64)
    rng = new_rng(seed)
    model.parameters().data += rng.normal(0, 0.1, len(model.parameters()))  # no gain is 1, no bias 0
    src, tgt = rng.integers(3, vocab, (3, 7)), rng.integers(3, vocab, (3, 6))
    src[1, 5:], tgt[2, 4:] = 0, 0
    masks = model.rng.bit_generator.state

    def loss_and_gradient() -> tuple[float, Array]:
        model.rng.bit_generator.state = masks
        logits = model(src, tgt[:, :-1])
        return cross_entropy(logits, tgt[:, 1:], label_smoothing=label_smoothing, ignore_index=0)

    def loss() -> float:
        value, _ = loss_and_gradient()
        model.forget()
        return value

    model.backward(loss_and_gradient()[1])
    named = model.parameters().named
    unique = {name: p for name, p in named.items() if next(n for n, q in named.items() if q is p) == name}
    return check(loss, {name: (p.data, p.grad) for name, p in unique.items()}, seed=seed)
