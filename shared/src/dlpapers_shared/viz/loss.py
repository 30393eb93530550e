"""Loss curves of several runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from dlpapers_shared._common.errors import check_choice, invalid
from dlpapers_shared._common.metrics import read_metrics
from dlpapers_shared.viz.style import Array, Figure, current, line_style, set_title, short_number, with_look

AXES = {
    "step": "step",
    "tokens": "training tokens",
    "wall_seconds": "wall-clock time, seconds",
    "cpu_seconds": "CPU time, seconds",
}
"""The keys of metrics.jsonl that can be the horizontal axis, with its label."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl. Raises: ValueError that names the file."""
    path = path / "metrics.jsonl" if path.is_dir() else path
    try:
        rows = read_metrics(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: not found. Is {path.parent} a run folder?") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start})") from None
    if not rows:
        raise ValueError(f"{path}: has no metrics")
    return rows


def points(rows: list[dict[str, Any]], x: str, y: str) -> Array:
    """Return the (x, y) of all rows that have both numbers, in order: shape (2, rows). y may be NaN or infinite."""
    pairs = [(row[x], row[y]) for row in rows if _is_number(row.get(x)) and _is_number(row.get(y))]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2).T


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def smooth(values: Array, window: int) -> Array:
    """Return the running mean of the last `window` values, of fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def run_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the runs' folders that distinguish them."""
    folders = [(p if p.is_dir() else p.parent if p.name == "metrics.jsonl" else p).resolve().parts for p in paths]
    depth = 1
    while len({f[-depth:] for f in folders}) < len(set(folders)):
        depth += 1
    return ["/".join(f[-depth:]) for f in folders]


@with_look
def loss_curves(
    paths: str | Path | Sequence[str | Path],
    *,
    x: str = "step",
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw training loss (thin) and validation loss (thick, with its last value) of one or several runs.

    paths: run folders, or their metrics.jsonl files. The training loss is a running mean over 1 % of the lines, as the
        legend says. A run whose loss became NaN or infinite ends in a cross.
    x: the horizontal axis: step, tokens, wall_seconds or cpu_seconds.
    labels: one name per run; by default the names of the folders. title: by default one that states the run.
    Raises: ValueError that names a run without the key `x` or without a loss.
    """
    runs = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(p) for p in paths]
    if not runs:
        raise invalid("paths", "hold at least one run", [])
    check_choice("x", x, AXES)
    if labels is not None and len(labels) != len(runs):
        raise invalid("labels", f"hold one name for each of {len(runs)} runs", list(labels))
    figure = Figure(figsize=(7.2 if len(runs) <= 4 else 9.6, 4.4), layout="constrained")
    axis = figure.subplots()
    names = list(labels or run_names(runs))
    windows = [_draw_run(axis, i, path, name, x) for i, (path, name) in enumerate(zip(runs, names, strict=True))]
    axis.set_xlabel(AXES[x])
    axis.set_ylabel("loss, nats per token")
    axis.grid(True)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    set_title(figure, axis, title or (f"Training of {names[0]}" if len(runs) == 1 else f"Training of {len(runs)} runs"))
    _legends(figure, axis, max(windows))
    return figure


def _draw_run(axis: Axes, number: int, path: Path, name: str, x: str) -> int:
    """Draw one run; return the window of the running mean, 0 if there is no training loss."""
    rows = read_rows(path)
    if not any(_is_number(row.get(x)) for row in rows):
        keys = [key for key in AXES if any(_is_number(row.get(key)) for row in rows)]
        raise ValueError(f"{path}: has no `{x}`. `x` must be one of {', '.join(keys)} for this run")
    style = line_style(number)
    losses = {key: points(rows, x, key) for key in ("loss", "val_loss")}
    finite = {key: found[:, np.isfinite(found[1])] for key, found in losses.items()}
    training, validation = finite["loss"], finite["val_loss"]
    if training.size + validation.size == 0:
        raise ValueError(f"{path}: has no finite `loss` or `val_loss` with `{x}`")
    window = max(1, training.shape[1] // 100)
    mean = smooth(training[1], window)
    if window > 1:
        axis.plot(*training, color=style["color"], linewidth=0.5, alpha=0.2, gid="raw")
    (thin,) = axis.plot(training[0], mean, linewidth=1.0, gid="training", **style)
    if validation.size:
        (named,) = axis.plot(*validation, linewidth=2.2, marker="o", markersize=3.5, gid="validation", **style)
        label = f"{name}: {short_number(validation[1][-1])}"
    else:
        named, label = thin, f"{name}: {short_number(mean[-1])} (training)"
    bad = np.concatenate([found[0, ~np.isfinite(found[1])] for found in losses.values()])
    if bad.size:
        last = max((found[:, -1] for found in finite.values() if found.size), key=lambda point: point[0])
        axis.plot(*last, marker="X", markersize=10, color=style["color"], gid="diverged")
        label += f", diverged at {bad.min():,.10g}"
    named.set_label(label)
    return window if training.size else 0


def _legends(figure: Figure, axis: Axes, window: int) -> None:
    """Add two legends: which color is which run, and which width is which loss."""
    gray, marked = current().gray, {line.get_gid(): line for line in axis.lines}
    kinds = []
    if "training" in marked:
        mean = f" (mean of {window} lines)" if window > 1 else ""
        kinds.append(Line2D([], [], color=gray, linewidth=1.0, label=f"training loss{mean}"))
    if "validation" in marked:
        kinds.append(Line2D([], [], color=gray, linewidth=2.2, marker="o", markersize=3.5, label="validation loss"))
    named = [line for line in axis.lines if ": " in str(line.get_label())]
    options: dict[str, Any] = {"handles": named, "title": "run: last validation loss", "handlelength": 4}
    if len(named) > 4:  # beside the axes, where they cover no curve
        runs = figure.legend(**options, loc="outside right upper")
    else:
        runs = axis.legend(**options, loc="upper right")
        axis.add_artist(runs)
    for text in runs.get_texts():
        text.set_parse_math(False)
    axis.legend(handles=kinds, loc="lower left", handlelength=2.5)
