"""Figures of runs, drawn with matplotlib (the extra `plots`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpt2._common.atomic import atomic_write
from gpt2._common.metrics import read_metrics
from gpt2._common.optional import require
from gpt2._common.run_folder import LOSS_CURVE, METRICS

BLUE, ORANGE = "#0072b2", "#d55e00"


def plot_loss(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Draw training and validation loss of runs over their steps; return the file.

    out: a .png or .svg file; by default loss_curve.png in the folder of the first run.
    Raises: MissingDependencyError without matplotlib; ValueError for a folder without metrics.
    """
    require("matplotlib", "drawing figures", install='pip install "matplotlib>=3.9"')
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, run in enumerate(runs):
        path = run / METRICS
        lines = read_metrics(path) if path.exists() else []
        if not lines:
            raise ValueError(f"{path}: has no metrics. Is {run} a run folder?")
        name = f"{run.name}: " if len(runs) > 1 else ""
        train = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        held_out = [(line["step"], line["val_loss"]) for line in lines if "val_loss" in line]
        color = BLUE if len(runs) == 1 else f"C{number}"
        axes.plot(*zip(*train, strict=True), color=color, alpha=0.5, linewidth=1, label=f"{name}training batch")
        if held_out:
            color = ORANGE if len(runs) == 1 else color
            axes.plot(*zip(*held_out, strict=True), color=color, marker="o", markersize=4, label=f"{name}validation")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    out = out or runs[0] / LOSS_CURVE
    with atomic_write(out) as temporary:
        figure.savefig(temporary, format=out.suffix.removeprefix(".") or "png", dpi=120)
    return out
