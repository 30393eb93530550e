"""Gradient check: compare analytic gradients with finite differences, for any layer or model, yours included.

>>> from attention_numpy import Linear
>>> rows = check_layer(Linear(3, 4, dtype=np.float64), np.random.default_rng(0).normal(size=(2, 3)))
>>> [row.name for row in rows], max(row.error for row in rows) < 1e-7
(['weight', 'bias', 'input 0'], True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_numpy.config import Norm, TransformerConfig
from attention_numpy.layers import new_rng
from attention_numpy.loss import cross_entropy
from attention_numpy.model import Transformer
from attention_numpy.module import Array, Module

STEP = 1e-6


@dataclass(frozen=True)
class Row:
    """The slope of the loss along a random unit direction of one array, computed in two ways."""

    name: str
    size: int
    analytic: float
    numeric: float

    @property
    def error(self) -> float:
        """|analytic - numeric| divided by the larger of the two, but at least by 1e-3, where rounding errors begin."""
        return abs(self.analytic - self.numeric) / max(abs(self.analytic), abs(self.numeric), 1e-3)


def slope(loss: Callable[[], float], array: Array, direction: Array, step: float = STEP) -> float:
    """Return the central difference (L(a + h u) - L(a - h u)) / 2 h, whose error is of order h^2 + rounding / h."""
    saved = array.copy()
    array += step * direction
    above = loss()
    np.subtract(saved, step * direction, out=array)
    below = loss()
    array[...] = saved
    return (above - below) / (2 * step)


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return a random direction of length 1."""
    direction = rng.standard_normal(shape)
    length: Array = direction / max(float(np.sqrt((direction * direction).sum())), 1e-300)
    return length


def check(loss: Callable[[], float], arrays: Mapping[str, tuple[Array, Array]], *, seed: int = 0) -> list[Row]:
    """Return a row for each named (array, gradient) pair. `loss` recomputes the loss from the arrays as they are.

    Every element of an array contributes to the slope along a random direction, at two evaluations per array.
    Where a ReLU's input crosses 0 within the step, the numeric slope is wrong.
    Raises: ValueError for arrays that are not float64.
    """
    rng, rows = new_rng(seed), []
    for name, (array, gradient) in arrays.items():
        if array.dtype != np.float64:
            raise ValueError(f"`{name}` must be float64 for a step of {STEP}, got {array.dtype}")
        direction = unit(rng, array.shape)
        analytic = float((gradient * direction).sum())
        rows.append(Row(name, array.size, analytic, slope(loss, array, direction)))
    return rows


def check_layer(layer: Module, *inputs: Any, seed: int = 0, **keywords: Any) -> list[Row]:
    """Return a row for each parameter and float input of a layer. The loss is its output times a random array, summed.

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
    """Return the rows as text, one line each."""
    width = max(len(row.name) for row in rows)
    head = f"{'parameter':{width}} {'size':>8} {'analytic':>15} {'numeric':>15} {'rel. error':>11}"
    lines = [f"{r.name:{width}} {r.size:8d} {r.analytic:15.8e} {r.numeric:15.8e} {r.error:11.1e}" for r in rows]
    worst = max(rows, key=lambda row: row.error if math.isfinite(row.error) else math.inf)
    return "\n".join([head, *lines, f"worst: {worst.error:.1e} ({worst.name})"])


def check_model(norm: Norm, tie_embeddings: bool, dropout: float, label_smoothing: float, seed: int) -> list[Row]:
    """Return a row for each parameter of a small Transformer on padded data. Dropout masks are held fixed."""
    vocab = 11
    sizes = (vocab, vocab if tie_embeddings else 13, 16, 4, 2, 32, dropout, norm)
    model = Transformer(TransformerConfig(*sizes, tie_embeddings=tie_embeddings), seed=seed, dtype=np.float64)
    rng = new_rng(seed)
    model.parameters().data += rng.normal(0, 0.1, model.num_parameters())  # no gain is 1, no bias 0
    src, tgt = rng.integers(3, vocab, (3, 7)), rng.integers(3, vocab, (3, 6))
    src[1, 5:], tgt[2, 4:] = 0, 0
    masks = model.rng.bit_generator.state

    def loss_and_gradient() -> tuple[float, Array]:
        model.rng.bit_generator.state = masks
        logits = model(src, tgt[:, :-1])
        return cross_entropy(logits, tgt[:, 1:], label_smoothing=label_smoothing, ignore_index=0)

    def loss() -> float:
        value, _ = loss_and_gradient()
        model.clear_saved()
        return value

    model.backward(loss_and_gradient()[1])
    named = model.parameters().named
    unique = {name: p for name, p in named.items() if next(n for n, q in named.items() if q is p) == name}
    return check(loss, {name: (p.data, p.grad) for name, p in unique.items()}, seed=seed)
