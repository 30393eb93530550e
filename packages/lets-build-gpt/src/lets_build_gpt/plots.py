"""Figures of runs and of attention weights. They need matplotlib; the interactive page needs dlpapers_shared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lets_build_gpt._common.atomic import atomic_write
from lets_build_gpt._common.errors import invalid
from lets_build_gpt._common.metrics import read_metrics
from lets_build_gpt._common.optional import require
from lets_build_gpt._common.run_folder import METRICS

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = (".png", ".svg", ".pdf")
COLORS = ("#2563eb", "#e2543f", "#1f9d6b", "#8b5cf6", "#d08c12", "#374151")


def _figure(**options: Any) -> Any:
    return require("matplotlib.figure", "drawing figures", distribution="matplotlib").Figure(**options)


def _save(figure: Any, out: Path) -> None:
    with atomic_write(out) as temporary:
        figure.savefig(temporary, format=out.suffix[1:].lower())


def check_format(out: Path) -> None:
    """Raise ValueError unless the name of a figure ends in .png, .svg or .pdf."""
    if out.suffix.lower() not in FORMATS:
        raise invalid("out", f"end in {', '.join(FORMATS)}", str(out))


def plot_loss(runs: Sequence[Path], out: Path) -> Any:
    """Draw the losses of one or more runs into `out` and return the figure.

    Lines: training loss, the mean between two lines of metrics.jsonl. Points: validation loss.
    Raises: ValueError that names the file if a run has no metrics; MissingDependencyError without matplotlib.
    """
    check_format(out)
    if not runs:
        raise invalid("runs", "name at least one run folder", [])
    lines = []
    for run in runs:
        if not (run / METRICS).is_file():
            raise ValueError(f"{run / METRICS}: not found. Is {run} a run folder?")
        lines.append(read_metrics(run / METRICS))
    figure = _figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, (run, found) in enumerate(zip(runs, lines, strict=True)):
        color, name = COLORS[number % len(COLORS)], f"{run.name}: " if len(runs) > 1 else ""
        training = [(line["step"], line["loss"]) for line in found if "loss" in line]
        validation = [(line["step"], line["val_loss"]) for line in found if "val_loss" in line]
        if training:
            axes.plot(*zip(*training, strict=True), color=color, alpha=0.5, linewidth=1.2, label=f"{name}training")
        if validation:
            axes.plot(*zip(*validation, strict=True), "o-", color=color, markersize=4, label=f"{name}validation")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per character)")
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    _save(figure, out)
    return figure


def plot_attention(weights: Tensor, text: str, out: Path | None = None) -> Any:
    """Draw one heat map per head and return the figure; also write it to `out`, if given.

    weights: (layers, heads, time, time), for the characters of `text`. Row: the character that attends. Column: the
    character that it attends to. All maps share the scale 0 to 1.
    Raises: MissingDependencyError without matplotlib.
    """
    if out is not None:
        check_format(out)
    layers, heads = weights.shape[:2]
    labels = [{" ": "␣", "\n": "⏎"}.get(character, character) for character in text]
    size = max(1.6, 0.11 * len(labels))
    figure = _figure(figsize=(size * heads + 0.8, size * layers + 0.8), dpi=150, layout="constrained")
    for layer, row in enumerate(figure.subplots(layers, heads, squeeze=False)):
        for head, axes in enumerate(row):
            image = axes.imshow(weights[layer, head].float().cpu().numpy(), cmap="Blues", vmin=0, vmax=1)
            axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=7)
            axes.set_xticks(range(len(labels)), labels if layer == layers - 1 else [], fontsize=5)
            axes.set_yticks(range(len(labels)), labels if head == 0 else [], fontsize=5)
            axes.tick_params(length=0, pad=1)
    figure.supxlabel("attends to", fontsize=8)
    figure.colorbar(image, ax=figure.axes, shrink=0.6, label="attention weight")
    if out is not None:
        _save(figure, out)
    return figure


def attention_page(weights: Tensor, text: str, out: Path) -> None:
    """Write an HTML page to explore attention weights (layers, heads, time, time).

    Raises: MissingDependencyError without dlpapers_shared.
    """
    viz = require("dlpapers_shared.viz", "the attention page")
    with atomic_write(out) as temporary:
        viz.attention_html(weights.float().cpu().numpy(), tokens=list(text), path=temporary)
