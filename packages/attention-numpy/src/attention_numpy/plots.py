"""Figures of a run, drawn with matplotlib (extra `plots`): its losses, and the cross-attention of the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attention_numpy._common.atomic import atomic_write
from attention_numpy._common.metrics import read_metrics
from attention_numpy._common.optional import require
from attention_numpy._common.run_folder import LOSS_CURVE, METRICS
from attention_numpy.checkpoint import Run, read_config
from attention_numpy.data import BOS_ID, EOS_ID, Task
from attention_numpy.model import Transformer
from attention_numpy.module import Array
from attention_numpy.train import CROSS_ATTENTION

COLORS = ("#1f5fa8", "#d1603d", "#2d2d2d", "#7a9e48", "#8a6bbe")
PURPOSE, INSTALL = "drawing figures", "pip install matplotlib"


def new_figure(width: float, height: float) -> Any:
    """Return a matplotlib Figure made without pyplot: nothing is shown or kept open.

    Raises: MissingDependencyError if matplotlib is not installed.
    """
    figure = require("matplotlib.figure", PURPOSE, distribution="matplotlib", install=INSTALL)
    return figure.Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def smoothed(values: Sequence[float], window: int) -> Array:
    """Return the mean over the last `window` values at each position; fewer at the beginning."""
    total = np.cumsum(np.concatenate([[0.0], np.asarray(values, float)]))
    stop = np.arange(1, len(total))
    start = np.maximum(0, stop - window)
    means: Array = (total[stop] - total[start]) / (stop - start)
    return means


def plot_loss(runs: Mapping[str, Path], out: Path | None = None) -> Any:
    """Draw training loss (thin, smoothed) and held-out loss (thick) of run folders by name; return the figure.

    out: file to write it to.
    """
    figure = new_figure(7, 4)
    axis = figure.subplots()
    for color, (name, folder) in zip(COLORS * len(runs), runs.items(), strict=False):
        lines = read_metrics(folder / METRICS)
        if not lines:
            raise ValueError(f"{folder / METRICS}: has no metrics yet")
        window = max(1, len(lines) // 50)
        smoothing = read_config(folder).train.label_smoothing
        kind = f"training loss with label smoothing {smoothing:g}" if smoothing else "training loss"
        axis.plot(
            [line["step"] for line in lines],
            smoothed([line["loss"] for line in lines], window),
            color=color, alpha=0.5, linewidth=1, label=f"{name}: {kind}, mean of {window} steps",
        )  # fmt: skip
        measured = [line for line in lines if "val_loss" in line]
        axis.plot(
            [line["step"] for line in measured],
            [line["val_loss"] for line in measured],
            color=color, linewidth=2, marker="o", markersize=3, label=f"{name}: held-out loss",
        )  # fmt: skip
    axis.set(yscale="log", xlabel="step", ylabel="loss, nats per token")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=8)
    if out is not None:
        save_figure(figure, out)
    return figure


def cross_attention(run: Run, text: str) -> tuple[Array, list[str], list[str]]:
    """Return the decoder's attention to the source: (layers, heads, target, source), target symbols, source symbols.

    Row i shows what the decoder attended to when it chose target symbol i.
    Raises: ValueError for a language model, which has no source.
    """
    if not isinstance(run.tokenizer, Task) or not isinstance(run.model, Transformer):
        raise ValueError("`run` must be an encoder-decoder, got a language model, which has no source to attend to")
    source = run.tokenizer.encode(text)
    output = run.model.generate(source, bos_id=BOS_ID, eos_id=EOS_ID)[0]
    _, intermediates = run.model(source, np.array([[BOS_ID, *output]]), return_intermediates=True)
    layers = range(run.model.config.n_layers)
    weights = np.stack([intermediates[f"decoder.layers.{i}.multihead_attn"][0] for i in layers])
    queries = [run.tokenizer.target_names[i] for i in [*output, EOS_ID]]
    return weights, queries, [run.tokenizer.source_names[i] for i in source[0].tolist()]


def sharpest(weights: Array) -> tuple[int, int]:
    """Return layer and head with the largest mean of the rows' maxima."""
    peak = weights.max(-1).mean(-1)
    layer, head = np.unravel_index(int(peak.argmax()), peak.shape)
    return int(layer), int(head)


def heatmap(axis: Any, weights: Array, queries: Sequence[str], keys: Sequence[str]) -> Any:
    """Draw attention weights (queries, keys) from 0 to 1 on an axis; return the image."""
    image = axis.imshow(weights, vmin=0, vmax=1, cmap="BuPu", aspect="equal")
    axis.set_xticks(range(len(keys)), keys, rotation=90)
    axis.set_yticks(range(len(queries)), queries)
    return image


def plot_cross_attention(run: Run, text: str, out: Path | None = None) -> Any:
    """Draw the sharpest head's attention while the run translates `text`; return the figure.

    out: file to write it to.
    """
    weights, queries, keys = cross_attention(run, text)
    layer, head = sharpest(weights)
    figure = new_figure(2 + 0.42 * len(keys), 1.6 + 0.34 * len(queries))
    axis = figure.subplots()
    image = heatmap(axis, weights[layer, head], queries, keys)
    axis.set(title=f"cross-attention, layer {layer}, head {head}", xlabel="source", ylabel="target")
    figure.colorbar(image, ax=axis, label="attention weight", shrink=0.8)
    if out is not None:
        save_figure(figure, out)
    return figure


def plot_run(run: Run, folder: Path, text: str | None) -> list[Path]:
    """Write loss_curve.png and, for a given source text, cross_attention.png into a run folder; return their paths."""
    paths = [folder / LOSS_CURVE]
    plot_loss({folder.name: folder}, paths[0])
    if text is not None:
        paths.append(folder / CROSS_ATTENTION)
        plot_cross_attention(run, text, paths[1])
    return paths
