"""Loss curves of several runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlpapers_shared.viz.style import Array, Figure, line_style

AXES = {"step": "step", "tokens": "training tokens", "seconds": "seconds of training"}


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl` (the file, or the folder that holds it).

    A last line that a killed run left unfinished is passed over. ValueError names any other bad line.
    """
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    *lines, unfinished = path.read_text(encoding="utf-8").split("\n")
    found = []
    for number, line in enumerate([*lines, unfinished], 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError as error:
            if number > len(lines):  # it lacks its line break, so it was being written
                break
            raise ValueError(f"{path}:{number}: {error}") from error
        found.append(row)
    if not found:
        raise ValueError(f"{path}: holds no metrics")
    return found


def series(rows: list[dict[str, Any]], x: str, y: str) -> tuple[Array, Array]:
    """The points of all rows that have both values, in order; what is not finite is left out."""
    points = [(row[x], row[y]) for row in rows if row.get(x) is not None and row.get(y) is not None]
    pairs = np.array(points, dtype=np.float64).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    return pairs[:, 0], pairs[:, 1]


def smooth(values: Array, window: int) -> Array:
    """The mean of the last `window` values at each place, of fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def run_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths' folders that tell the runs apart."""
    folders = [(p if p.is_dir() else p.parent if p.name == "metrics.jsonl" else p).resolve().parts for p in paths]
    depth = 1
    while len({f[-depth:] for f in folders}) < len(set(folders)):
        depth += 1
    return ["/".join(f[-depth:]) for f in folders]


def loss_curves(
    paths: str | Path | Sequence[str | Path],
    *,
    x: str = "step",
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Training loss (thin) and validation loss (thick, with its last value) of one or several runs.

    paths: files `metrics.jsonl`, or the folders that hold them; each line is an object with `step` (or `tokens`
        or `seconds`, whichever `x` names) and `loss`, `val_loss` or both.
    labels: a name for each run; without them, the names of their folders.
    """
    many = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(p) for p in paths]
    if not many:
        raise ValueError("paths: there is no run to draw")
    if x not in AXES:
        raise ValueError(f"x: {x!r} is none of {', '.join(AXES)}")
    if labels is not None and len(labels) != len(many):
        raise ValueError(f"labels: {len(labels)} for {len(many)} runs")
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axis = figure.subplots()
    for number, (path, name) in enumerate(zip(many, labels or run_names(many), strict=True)):
        rows = read_metrics(path)
        style = line_style(number)
        training, validation = series(rows, x, "loss"), series(rows, x, "val_loss")
        if len(training[0]) + len(validation[0]) == 0:
            raise ValueError(f"{path}: no line has {x!r} and a finite 'loss' or 'val_loss'")
        window = max(1, len(training[1]) // 100)
        if window > 1:
            axis.plot(*training, color=style["color"], linewidth=0.5, alpha=0.25)
        (thin,) = axis.plot(training[0], smooth(training[1], window), linewidth=0.9, **style)
        if len(validation[0]):
            label = f"{name}: {validation[1][-1]:.3f}"
            axis.plot(*validation, linewidth=2.2, marker="o", markersize=3.5, label=label, **style)
        else:
            thin.set_label(f"{name}: {smooth(training[1], window)[-1]:.3f} (training)")
    axis.set_xlabel(AXES[x])
    axis.set_ylabel("loss (thin: training, thick: validation)")
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    for text in axis.legend(title="last validation loss", frameon=False, handlelength=4).get_texts():
        text.set_parse_math(False)
    if title:
        axis.set_title(title, parse_math=False)
    return figure
