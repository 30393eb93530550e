"""Figures of a run. They need matplotlib: the extra `plots`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformer_torch._common.atomic import atomic_write
from transformer_torch._common.metrics import read_metrics
from transformer_torch._common.optional import require
from transformer_torch._common.run_folder import LOSS_CURVE, METRICS
from transformer_torch.inference.translate import Translator

TRAIN, VALID, INK = "#7d9cc9", "#d1495b", "#333333"


def _pyplot() -> Any:
    """Return matplotlib.pyplot, drawing to files. Raises: MissingDependencyError where matplotlib is not installed."""
    require("matplotlib", "drawing figures").use("agg")
    return require("matplotlib.pyplot", "drawing figures", distribution="matplotlib")


def plot_loss(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Draw training and validation loss over the steps; return the file, loss_curve.png of the first run.

    Both are the cross-entropy per target token, without label smoothing. The training loss has dropout, so it may be
    above the validation loss.
    """
    plt = _pyplot()
    lines = {}
    for run in runs:
        if not (run / METRICS).exists():
            raise ValueError(f"{run / METRICS}: not found. Is {run} a run folder?")
        lines[run] = read_metrics(run / METRICS)
        if not lines[run]:
            raise ValueError(f"{run / METRICS}: no steps yet")
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for run, found in lines.items():
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        color = {} if len(runs) > 1 else {"color": TRAIN}
        (train,) = axis.plot(
            [m["step"] for m in found],
            [m["loss"] for m in found],
            lw=0.8,
            alpha=0.8,
            label=f"{prefix}training",
            **color,
        )
        valid = [m for m in found if "val_loss" in m]
        if valid:
            valid_color = train.get_color() if len(runs) > 1 else VALID
            steps, losses = [m["step"] for m in valid], [m["val_loss"] for m in valid]
            axis.plot(steps, losses, "o-", color=valid_color, ms=3, lw=2, label=f"{prefix}validation")
            axis.annotate(f"{losses[-1]:.3g}", (steps[-1], losses[-1]), (4, 4), textcoords="offset points", color=INK)
    axis.set(xlabel="optimizer step", ylabel="cross-entropy per token (no label smoothing)", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return _saved(plt, figure, out or runs[0] / LOSS_CURVE)


def plot_attention(translator: Translator, line: str, out: Path) -> tuple[Path, str]:
    """Draw what the last decoder layer attends to, mean over heads; return the file and the translation."""
    plt = _pyplot()
    if not line.strip():
        raise ValueError("`line` must hold text, got a blank line")
    translation = translator.translate([line], beam_size=1)[0]
    source, target, weights = translator.attention(line, translation)
    last = f"decoder.{translator.model.config.n_layers - 1}.cross_attn"
    size = (2 + 0.28 * len(source), 1.5 + 0.28 * len(target))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    axis.imshow(weights[last].mean(0).numpy(), cmap="Blues", vmin=0, aspect="auto")
    axis.set_xticks(range(len(source)), source, rotation=0 if max(map(len, source)) < 5 else 90)
    axis.set_yticks(range(len(target)), target)
    axis.set(xlabel="source", ylabel="target", title="cross-attention, last layer, mean of the heads")
    return _saved(plt, figure, out), translation


def _saved(plt: Any, figure: Any, path: Path) -> Path:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)
    return path
