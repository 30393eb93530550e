"""Activation functions and their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlpapers_shared.viz.style import Array, Figure, array, line_style

Function = Callable[[Array], Any]


def normal(x: Array) -> tuple[Array, Array]:
    """The standard normal distribution at x: density, and probability of less."""
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi), (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def gelu_tanh(x: Array) -> Array:
    """GPT-2's GELU: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))   — 1606.08415, section 2."""
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


ACTIVATIONS: dict[str, Function] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": lambda x: x * normal(x)[1],
    "GELU (tanh)": gelu_tanh,
    "SiLU": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
}


def slope(function: Function, x: Array) -> Array:
    """The derivative of a function by central differences: its error is of the order of 1e-9 where it is smooth."""
    step = 1e-5
    up, down = (array(function(at), "functions") for at in (x + step, x - step))
    return np.asarray((up - down) / (2 * step))


def activations(
    functions: Mapping[str, Function] | None = None,
    *,
    low: float = -4.0,
    high: float = 4.0,
    title: str | None = None,
) -> Figure:
    """Functions (left) and their derivatives (right), which is what a gradient is multiplied with on its way back.

    functions: by name; each takes an array of x and returns an array of the same shape. Without them, those
        of the papers here: ReLU, GELU exact and by tanh, SiLU, tanh, sigmoid.
    """
    if not low < high:
        raise ValueError(f"low, high: {low} is not below {high}")
    chosen = ACTIVATIONS if functions is None else functions
    if not chosen:
        raise ValueError("functions: there is none to draw")
    x = np.linspace(low, high, 1601)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, function) in enumerate(chosen.items()):
        y = array(function(x), "functions")
        if y.shape != x.shape:
            raise ValueError(f"functions: {name} turned shape {x.shape} into {y.shape}")
        left.plot(x, y, label=name, **line_style(number))
        right.plot(x, slope(function, x), label=name, **line_style(number))
    left.set(xlabel="x", title="f(x)")
    right.set(xlabel="x", title="derivative f'(x)")
    for axis in (left, right):
        axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    for text in left.legend(frameon=False, handlelength=4).get_texts():
        text.set_parse_math(False)
    if title:
        figure.suptitle(title, parse_math=False)
    return figure
