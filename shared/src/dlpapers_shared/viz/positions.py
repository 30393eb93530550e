"""Positional encodings, fixed or learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlpapers_shared.viz.style import SIGNED, Figure, array, current, line_style, set_title, with_look


@with_look
def positional_encoding(pe: Any, *, title: str | None = None) -> Figure:
    """Draw a table of positional encodings, four of its dimensions as curves, and the similarity of positions.

    pe: (positions, d_model), the sinusoids of 1706.03762, section 3.5, or a learned table. The similarity is the
        cosine of two positions' vectors. Bands along the diagonal mean that it depends on the distance alone.
    """
    table = array(pe, "pe")
    if table.ndim != 2:
        raise ValueError(f"`pe` must have shape (positions, d_model), got {table.shape}")
    d_model = table.shape[1]
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    whole, curves, similarity = figure.subplots(1, 3)

    bound = np.quantile(abs(table), 0.995) or 1.0  # a few large values of a learned table would hide all others
    image = whole.imshow(table, cmap=SIGNED, vmin=-bound, vmax=bound, aspect="auto", interpolation="antialiased")
    extend = "both" if bound < abs(table).max() else "neither"
    figure.colorbar(image, ax=whole, fraction=0.05, extend=extend, label="value")
    whole.set(xlabel="dimension", ylabel="position")
    whole.set_title("Encoding", loc="left")

    # evenly spaced dimensions of the first half: sine and cosine pairs of decreasing frequency
    chosen = sorted({int(d) for d in np.linspace(0, d_model / 2, 4)} & set(range(d_model)))
    for number, dimension in enumerate(chosen):
        curves.plot(table[:, dimension], label=str(dimension), **line_style(number))
    curves.set(xlabel="position", ylabel="value")
    curves.set_title("Four dimensions" if len(chosen) == 4 else "Dimensions", loc="left")
    curves.legend(title="dimension", ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.18), handlelength=3)

    length = np.linalg.norm(table, axis=1, keepdims=True)
    unit = table / np.where(length == 0, 1, length)
    image = similarity.imshow(unit @ unit.T, cmap=current().weights, interpolation="antialiased")
    figure.colorbar(image, ax=similarity, fraction=0.05, label="cosine")
    similarity.set(xlabel="position", ylabel="position")
    similarity.set_title("Similarity of positions", loc="left")
    set_title(figure, None, title)
    return figure
