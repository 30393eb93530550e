"""The pictures of a run, drawn by dlpapers_shared.viz where that is installed."""

from __future__ import annotations

import os
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from attention_numpy.layer import Array
from attention_numpy.tasks import BOS, EOS
from attention_numpy.training import FinishedRun


class NoPicturesError(ValueError):
    """The package that draws is not installed."""


def viz() -> Any:
    """The module that draws. It is looked for by its distribution: a stranger's module of that name would not do."""
    try:
        metadata.version("dlpapers-shared")
    except metadata.PackageNotFoundError:
        raise NoPicturesError(
            "pictures: they are drawn by dlpapers-shared, which is not installed; "
            "from a copy of this repository: pip install ./shared"
        ) from None
    return import_module("dlpapers_shared.viz")


def write(figure: Any, path: Path) -> None:
    """Save a figure under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        figure.savefig(temporary, dpi=150)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def draw_curve(folder: Path) -> Path:
    """The losses of a run, as curve.png beside its metrics."""
    path = folder / "curve.png"
    write(viz().loss_curves(folder), path)
    return path


def cross_attention(run: FinishedRun, text: str) -> tuple[Array, list[str], list[str]]:
    """The decoder's attention to the source while it writes: (layers, heads, n, m), the target's and source's symbols.

    Row i shows what was attended to when symbol i of the target was chosen.
    """
    task = getattr(run.objective, "task", None)
    if task is None:
        raise ValueError("run: a language model has no source to attend to; train a task, for example reverse")
    source = task.encode(text)
    output = run.model.generate(source, bos=BOS, eos=EOS)[0]
    seen: dict[str, Array] = {}
    run.model(source, np.array([[BOS, *output]]), seen)
    weights = [seen[f"decoder.layers.{i}.multihead_attn"][0] for i in range(run.config.n_layers)]
    names = {i: s for s, i in task.source.items()}
    queries = [task.target_names[i] for i in [*output, EOS]]
    return np.stack(weights), queries, [names[i] for i in source[0].tolist()]


def sharpest(weights: Array) -> tuple[int, int]:
    """Layer and head whose weights are nearest to one key a query: of the largest mean maximum."""
    peak = weights.max(-1).mean(-1)
    layer, head = np.unravel_index(int(peak.argmax()), peak.shape)
    return int(layer), int(head)


def draw_cross_attention(run: FinishedRun, text: str, path: Path) -> Path:
    """The sharpest head's map while the run writes what `text` becomes."""
    weights, queries, keys = cross_attention(run, text)
    layer, head = sharpest(weights)
    title = f"cross-attention, layer {layer}, head {head}"
    write(viz().attention_heatmap(weights[layer, head], queries, keys=keys, title=title), path)
    return path
