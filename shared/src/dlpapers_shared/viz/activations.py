"""Activation functions and their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlpapers_shared._common.errors import invalid
from dlpapers_shared.viz.style import Array, Figure, array, current, line_style, set_title, with_look

Function = Callable[[Array], Any]


def normal(x: Array) -> tuple[Array, Array]:
    """Return density and cumulative probability of the standard normal distribution at x."""
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi), (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def gelu_tanh(x: Array) -> Array:
    """Compute GPT-2's GELU: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).   (1606.08415, section 2)"""
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def sigmoid(x: Array) -> Array:
    """Compute 1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


ACTIVATIONS: dict[str, Function] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": lambda x: x * normal(x)[1],
    "GELU (tanh)": gelu_tanh,
    "SiLU": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
}


def derivative(function: Function, x: Array) -> Array:
    """Differentiate a function by central differences; the error is about 1e-9 where it is smooth."""
    step = 1e-5
    up, down = (array(function(at), "functions") for at in (x + step, x - step))
    return np.asarray((up - down) / (2 * step))


@with_look
def activations(
    functions: Mapping[str, Function] | None = None,
    *,
    low: float = -4.0,
    high: float = 4.0,
    title: str | None = None,
) -> Figure:
    """Draw functions (left) and their derivatives (right), the factors of the gradient in the backward pass.

    functions: by name; each maps an array of x to an array of the same shape. By default ReLU, GELU (exact and with
        tanh), SiLU, tanh and sigmoid.
    low, high: the range of x.
    """
    if not low < high:
        raise invalid("low", f"be less than `high` = {high}", low)
    chosen = ACTIVATIONS if functions is None else functions
    if not chosen:
        raise invalid("functions", "name at least one function", dict(chosen))
    x = np.linspace(low, high, 1601)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, function) in enumerate(chosen.items()):
        y = array(function(x), "functions")
        if y.shape != x.shape:
            raise ValueError(f"`functions` must keep the shape {x.shape}, got {y.shape} from {name}")
        width = 2.2 if number % 2 == 0 else 1.4  # lines that coincide stay visible: a thin one over a thick one
        left.plot(x, y, label=name, linewidth=width, **line_style(number))
        right.plot(x, derivative(function, x), label=name, linewidth=width, **line_style(number))
    left.set(xlabel="x", ylabel="f(x)")
    right.set(xlabel="x", ylabel="f′(x)")
    left.set_title("Function", loc="left")
    right.set_title("Derivative", loc="left")
    for axis in (left, right):
        axis.axhline(0, color=current().line, linewidth=0.8, zorder=0)
        axis.axvline(0, color=current().line, linewidth=0.8, zorder=0)
    for text in left.legend(handlelength=4).get_texts():
        text.set_parse_math(False)
    set_title(figure, None, title)
    return figure
