"""Figures of a run. They need matplotlib."""
# Replace: add the figures of your paper.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from MODULE._common.atomic import atomic_write
from MODULE._common.errors import invalid
from MODULE._common.metrics import read_metrics
from MODULE._common.optional import require
from MODULE._common.run_folder import METRICS

FORMATS = (".png", ".svg", ".pdf")


def plot_loss(runs: Sequence[Path], out: Path) -> None:
    """Draw training and validation losses of runs over the steps. Raises: ValueError for a run without metrics."""
    if out.suffix not in FORMATS:
        raise invalid("out", f"end in one of {', '.join(FORMATS)}", str(out))
    if not runs:
        raise invalid("runs", "name at least one run", [])
    figure = require("matplotlib.figure", "drawing figures").Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="step", ylabel="loss (nats per character)")
    for run in runs:
        if not (lines := read_metrics(run / METRICS) if (run / METRICS).is_file() else []):
            raise ValueError(f"{run}: has no metrics. Is it a run folder?")
        steps = [line["step"] for line in lines]
        (drawn,) = axes.plot(steps, [line["val_loss"] for line in lines], marker=".", label=f"{run.name}, validation")
        color = drawn.get_color()
        axes.plot(steps, [line["loss"] for line in lines], "--", color=color, label=f"{run.name}, training batch")
    axes.legend()
    with atomic_write(out) as temporary:
        figure.savefig(temporary, format=out.suffix[1:], dpi=120)
