"""Pictures of a run, drawn by the package dlpapers_shared where it is installed."""

from __future__ import annotations

from pathlib import Path

from gpt2.pretrained import write_atomically
from gpt2.siblings import sibling


def loss_curve(folder: Path) -> Path:
    """curve.png of a run from its metrics.jsonl; ValueError where nothing draws."""
    viz = sibling("dlpapers_shared.viz", "dlpapers-shared", "./shared", "curve.png: drawn by dlpapers_shared")
    figure = viz.loss_curves(folder / "metrics.jsonl")
    write_atomically(folder / "curve.png", lambda path: figure.savefig(path, format="png"))
    return folder / "curve.png"
