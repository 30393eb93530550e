"""Pictures of a run, drawn by dlpapers_shared where it is installed. The package itself draws nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lets_build_gpt import siblings, storage

if TYPE_CHECKING:
    from lets_build_gpt.model import Model
    from lets_build_gpt.tokenizer import CharTokenizer


def loss_curves(folders: list[Path], path: Path) -> None:
    """The losses of one run or several, from their metrics.jsonl, as a picture."""
    viz = siblings.shared("viz", "a loss curve")
    for folder in folders:
        if not (folder / storage.METRICS).is_file():
            raise ValueError(f"{folder}: no {storage.METRICS}; is it the folder of a run?")
    figure = viz.loss_curves([folder / storage.METRICS for folder in folders])
    storage.write_atomically(path, lambda p: figure.savefig(p, format=path.suffix[1:] or "png"))


def attention(model: Model, tokenizer: CharTokenizer, text: str, folder: Path) -> tuple[Path, Path]:
    """Where every head looks in a text: attention.png, and attention.html to explore; returns their paths."""
    import torch

    viz = siblings.shared("viz", "an attention picture")
    intermediates: dict[str, Any] = {}
    with torch.no_grad():
        model(torch.tensor([tokenizer.encode(text)]), intermediates=intermediates)
    weights = intermediates["attn"][:, 0].float().numpy()
    picture, page = folder / "attention.png", folder / "attention.html"
    figure = viz.attention_heatmap(weights, tokens=list(text))
    storage.write_atomically(picture, lambda p: figure.savefig(p, format="png"))
    storage.write_atomically(page, lambda p: viz.attention_html(weights, tokens=list(text), path=p))
    return picture, page
