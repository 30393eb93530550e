"""Pictures of a run, drawn by the package `dlpapers_shared` where it is installed."""

from __future__ import annotations

from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from transformer_torch.files import replace_file
from transformer_torch.translate import Translator

HOW = "`pip install ./shared` gets pictures"


def viz() -> Any:
    """dlpapers_shared.viz; ValueError that says how to get it."""
    try:
        metadata.version("dlpapers-shared")
    except metadata.PackageNotFoundError:
        raise ValueError(f"pictures: the package dlpapers-shared is not installed; {HOW}") from None
    return import_module("dlpapers_shared.viz")


def _save(figure: Any, path: Path) -> Path:
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
    return path


def draw_curve(run: Path) -> Path:
    """Training and validation loss over the updates, from `metrics.jsonl` into `curve.png`."""
    draw = viz()
    path = run / "metrics.jsonl"
    if not path.exists():
        raise ValueError(f"{path}: there is no such file; is {run} the folder of a run?")
    return _save(draw.loss_curves(path), run / "curve.png")


def draw_attention(run: Path, translator: Translator, line: str) -> Path:
    """Where the decoder's last layer looks for each piece it writes, mean over heads, into `attention.png`."""
    draw = viz()
    source, target, weights = translator.attention(line)
    last = max((name for name in weights if name.endswith("cross")), key=lambda name: int(name.split(".")[1]))
    figure = draw.attention_heatmap(weights[last].mean(0), target, keys=source, title="cross-attention, last layer")
    return _save(figure, run / "attention.png")
