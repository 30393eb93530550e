"""Attention weights of all layers and heads in one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dlpapers_shared.viz.style import GREY, WEIGHTS, Array, Figure, Token, array, drawn, labels_for

POINTS = 72  # in an inch


def as_weights(attn: Any) -> Array:
    """Attention weights as (layers, heads, queries, keys).

    Taken: (queries, keys), (heads, queries, keys), (layers, heads, queries, keys), or a list of one
    (heads, queries, keys) for each layer. ValueError for other shapes and for negative weights.
    """
    weights = array(attn, "attn")
    if not 2 <= weights.ndim <= 4:
        what = "2 to 4 axes are needed, the last four of (layers, heads, queries, keys)"
        raise ValueError(f"attn: shape {weights.shape} has {weights.ndim} axes; {what}, and no batch")
    if weights.min() < 0:
        raise ValueError(f"attn: weights are not negative, but the least is {weights.min():g}; scores before softmax?")
    return weights.reshape((1,) * (4 - weights.ndim) + weights.shape)


def attention_heatmap(
    attn: Any,
    tokens: Sequence[Token] | None = None,
    *,
    keys: Sequence[Token] | None = None,
    title: str | None = None,
) -> Figure:
    """One panel for each layer (downwards) and head (across): row i shows where token i looks.

    attn: weights, (layers, heads, queries, keys) or fewer leading axes, see `as_weights`. Panel (l, h) is
        attn[l, h]; both are counted from 0. All panels share one scale, from 0 to the largest weight.
    tokens: one for each query, and for each key unless `keys` are given (attention over another sequence).
    """
    weights = as_weights(attn)
    layers, heads, n_queries, n_keys = weights.shape
    queries = labels_for(tokens, n_queries, "tokens")
    looked_at = queries if keys is None and n_keys == n_queries else labels_for(keys, n_keys, "keys")

    # one layer alone is wrapped, so that its heads are not one long row
    columns = heads if layers > 1 else min(heads, 4)
    rows = layers if layers > 1 else math.ceil(heads / columns)
    cell = min(0.34, 6 / max(n_queries, n_keys), 20 / (columns * n_keys), 24 / (rows * n_queries))  # inches
    every = max(1, math.ceil(5 / (cell * POINTS * 0.8)))  # labels of at least 5 points have room
    size = min(10.0, cell * every * POINTS * 0.8)
    y_labels, x_labels = drawn(queries), drawn(looked_at)
    left, below = (max(map(len, labels)) * size * 0.6 / POINTS + 0.4 for labels in (y_labels, x_labels))
    width, height = columns * (n_keys * cell + 0.1), rows * (n_queries * cell + 0.1)
    # words grow with the sheet, as far as they fit beside a panel
    text = min(22.0, max(10.0, width), max(6.0, min(n_queries, n_keys) * cell * POINTS / 9))
    figure = Figure(figsize=(width + left + 1.0, height + below + text / 24 + 0.3), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False)
    top = weights.max() or 1.0
    for panel, axis in enumerate(axes.flat):
        layer, head = divmod(panel, heads)
        if layer >= layers:
            axis.set_axis_off()
            continue
        image = axis.imshow(weights[layer, head], cmap=WEIGHTS, vmin=0, vmax=top, interpolation="nearest")
        axis.spines[:].set(color=GREY, linewidth=0.5)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.tick_params(length=0, pad=2)
        if panel % columns == 0:
            axis.set_yticks(range(0, n_queries, every), y_labels[::every], size=size, parse_math=False)
            axis.set_ylabel(f"layer {layer} · query" if layers > 1 else "query", size=text)
        if panel + columns >= layers * heads:
            axis.set_xticks(range(0, n_keys, every), x_labels[::every], size=size, rotation=90, parse_math=False)
            axis.set_xlabel("key", size=text)
        if heads > 1 and layer == 0:
            axis.set_title(f"head {head}", size=text)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, aspect=40)
    bar.set_label("attention weight", size=text)
    bar.ax.tick_params(labelsize=0.8 * text)
    if title:
        figure.suptitle(title, size=text * 1.1, parse_math=False)
    return figure
