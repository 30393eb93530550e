"""Heat maps of the attention weights of all layers and heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from dlpapers_shared._common.errors import check_positive
from dlpapers_shared.viz.style import (
    Array,
    Figure,
    Token,
    array,
    current,
    font_labels,
    labels_for,
    set_title,
    with_look,
)

POINTS = 72  # per inch
TOLERANCE = 0.02
"""Largest difference of a row's sum from 1: the rounding of bfloat16 over thousands of keys stays below it."""


def as_weights(attn: Any) -> Array:
    """Return attention weights with shape (layers, heads, queries, keys).

    attn: (queries, keys), (heads, queries, keys), (layers, heads, queries, keys), or a list with one
        (heads, queries, keys) per layer.
    Raises: ValueError for other shapes, negative weights, and rows that sum neither to 1 nor to 0 (a query that may
        attend to nothing).
    """
    weights = array(attn, "attn")
    if not 2 <= weights.ndim <= 4:
        shape = "have 2 to 4 axes, the last of (layers, heads, queries, keys), without a batch axis"
        raise ValueError(f"`attn` must {shape}, got shape {weights.shape} with {weights.ndim} axes")
    if weights.min() < 0:
        fix = "Apply softmax to scores first"
        raise ValueError(f"`attn` must not be negative, got {weights.min():g}. {fix}")
    sums = weights.sum(-1)
    wrong = (abs(sums - 1) > TOLERANCE) & (sums > 1e-6)
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        fix = "Apply softmax over the keys, and pass all keys"
        raise ValueError(f"`attn` must have rows that sum to 1, got {sums[where]:g} in row {where}. {fix}")
    return weights.reshape((1,) * (4 - weights.ndim) + weights.shape)


def max_pool(weights: Array, rows: int, columns: int) -> Array:
    """Shrink a matrix to at most `rows` x `columns`: each cell is the maximum of the cells that it replaces."""
    for axis, most in ((0, rows), (1, columns)):
        size = weights.shape[axis]
        if size > most:
            starts = np.arange(most) * size // most
            weights = np.maximum.reduceat(weights, starts, axis=axis)
    return weights


@with_look
def attention_heatmap(
    attn: Any,
    tokens: Sequence[Token] | None = None,
    *,
    keys: Sequence[Token] | None = None,
    title: str | None = None,
    vmax: float | None = None,
    power: float = 1.0,
) -> Figure:
    """Draw one panel per layer (rows) and head (columns): row i shows the tokens that token i attends to.

    attn: weights, (layers, heads, queries, keys) or fewer leading axes, see `as_weights`. Panel (l, h) is attn[l, h];
        both count from 0. A panel with more cells than pixels shows the maximum of neighboring cells.
    tokens: one per query, and per key unless `keys` are given (attention over another sequence).
    vmax: the weight of the darkest color; by default the largest weight. All panels share one scale.
    power: the color depends on weight ** power. Below 1, small weights become visible (0.5: square root).
    """
    weights = as_weights(attn)
    layers, heads, n_queries, n_keys = weights.shape
    queries = labels_for(tokens, n_queries, "tokens")
    attended = queries if keys is None and n_keys == n_queries else labels_for(keys, n_keys, "keys")
    check_positive("power", power)
    top = float(weights.max()) or 1.0
    if vmax is not None:
        check_positive("vmax", vmax)
    norm = PowerNorm(power, vmin=0, vmax=top if vmax is None else vmax)

    # the heads of a single layer are wrapped into several rows
    columns = heads if layers > 1 else min(heads, 4)
    rows = layers if layers > 1 else math.ceil(heads / columns)
    cell = min(0.34, 5 / max(n_queries, n_keys), 12 / (columns * n_keys), 14 / (rows * n_queries))  # inches
    every = max(1, math.ceil(6 / (cell * POINTS * 0.9)))  # labels of at least 6 points do not overlap
    size = min(10.0, cell * every * POINTS * 0.9)
    y_labels, x_labels = font_labels(queries), font_labels(attended)
    left, below = (max(map(len, labels)) * size * 0.6 / POINTS + 0.4 for labels in (y_labels, x_labels))
    width, height = columns * (n_keys * cell + 0.14), rows * (n_queries * cell + 0.14)
    panel = min(n_queries, n_keys) * cell * POINTS
    text = min(11.0, max(6.0, panel / 7))
    figure = Figure(figsize=(max(2.6, width + left + 1.0), height + below + 0.6), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False)
    pixels = max(1, int(n_queries * cell * 100)), max(1, int(n_keys * cell * 100))
    for number, axis in enumerate(axes.flat):
        layer, head = divmod(number, heads)
        if layer >= layers:
            axis.set_axis_off()
            continue
        shown = max_pool(weights[layer, head], *pixels)
        extent = (-0.5, n_keys - 0.5, n_queries - 0.5, -0.5)
        colors = {"cmap": current().weights, "norm": norm}
        image = axis.imshow(shown, **colors, interpolation="nearest", extent=extent, aspect="equal")
        _frame(axis, n_queries, n_keys, margin=1.2 / (cell * POINTS))
        if number % columns == 0:
            axis.set_yticks(range(0, n_queries, every), y_labels[::every], size=size, parse_math=False)
            axis.set_ylabel(f"layer {layer} · query" if layers > 1 else "query", size=text)
        if number + columns >= layers * heads:
            axis.set_xticks(range(0, n_keys, every), x_labels[::every], size=size, rotation=90, parse_math=False)
            axis.set_xlabel("key", size=text)
        if heads > 1 and layer == 0:
            axis.set_title(f"head {head}", size=text, weight="normal", pad=4)
    beyond = "max" if vmax is not None and vmax < top else "neither"
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, aspect=min(40, 6 * max(1.0, height)), extend=beyond)
    bar.outline.set(edgecolor=current().gray, linewidth=0.5)
    bar.set_label("attention weight" + (f" (color scale: power {power:g})" if power != 1 else ""), size=10)
    set_title(figure, None, title)
    return figure


def _frame(axis: Axes, n_queries: int, n_keys: int, margin: float) -> None:
    """Put a thin frame around a matrix with a margin (in cells), so that it covers no weight; no ticks."""
    axis.set_xlim(-0.5 - margin, n_keys - 0.5 + margin)
    axis.set_ylim(n_queries - 0.5 + margin, -0.5 - margin)
    axis.spines[:].set(visible=True, color=current().gray, linewidth=0.5)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.tick_params(length=0, pad=2)
