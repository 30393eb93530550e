"""Positional encodings, fixed or learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlpapers_shared.viz.style import SIGNED, WEIGHTS, Figure, array, line_style


def positional_encoding(pe: Any, *, title: str | None = None) -> Figure:
    """The encodings themselves, four of their dimensions as curves, and how alike two positions are.

    pe: (positions, d_model), sine and cosine of section 3.5 in 1706.03762 or a learned table. Alike is measured
    by the cosine of the angle between two positions' vectors: bands along the diagonal mean that it depends on
    how far apart the positions are, not on where they stand.
    """
    table = array(pe, "pe")
    if table.ndim != 2:
        raise ValueError(f"pe: shape {table.shape}; (positions, d_model) is needed")
    d_model = table.shape[1]
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    whole, curves, alike = figure.subplots(1, 3)

    bound = np.quantile(abs(table), 0.995) or 1.0  # a few large values of a learned table would hide all others
    image = whole.imshow(table, cmap=SIGNED, vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=whole, fraction=0.05, extend="both" if bound < abs(table).max() else "neither")
    whole.set(xlabel="dimension", ylabel="position", title="encoding")

    chosen = sorted({int(d) for d in np.linspace(0, d_model / 2, 4)} & set(range(d_model)))
    for number, dimension in enumerate(chosen):
        curves.plot(table[:, dimension], label=str(dimension), **line_style(number))
    curves.set(xlabel="position", ylabel="value", title="some dimensions")
    curves.legend(title="dimension", ncols=2, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    curves.spines[["top", "right"]].set_visible(False)

    length = np.linalg.norm(table, axis=1, keepdims=True)
    unit = table / np.where(length == 0, 1, length)
    image = alike.imshow(unit @ unit.T, cmap=WEIGHTS, interpolation="nearest")
    figure.colorbar(image, ax=alike, fraction=0.05)
    alike.set(xlabel="position", ylabel="position", title="cosine between two positions")
    if title:
        figure.suptitle(title, parse_math=False)
    return figure
