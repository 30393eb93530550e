"""A from-scratch PyTorch implementation of the paper that `PAPER` names."""
# Replace: the public names. Each is imported at its first use, because importing torch takes seconds.

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from MODULE.checkpoint import load_run
    from MODULE.config import DataConfig, ModelConfig, SamplingConfig, TrainConfig
    from MODULE.data import CharTokenizer, synthetic_text
    from MODULE.loss import cross_entropy
    from MODULE.model import Model
    from MODULE.paper import PAPER
    from MODULE.recipes import RECIPES, Recipe
    from MODULE.train import Trainer, run_training

    __version__: str

__all__ = [
    "PAPER", "Model", "cross_entropy", "CharTokenizer", "synthetic_text", "ModelConfig", "TrainConfig", "DataConfig",
    "SamplingConfig", "Recipe", "RECIPES", "Trainer", "run_training", "load_run",
]  # fmt: skip

_EXPORTS = {
    **dict.fromkeys(("DataConfig", "ModelConfig", "SamplingConfig", "TrainConfig"), "config"),
    **dict.fromkeys(("CharTokenizer", "synthetic_text"), "data"),
    **dict.fromkeys(("RECIPES", "Recipe"), "recipes"),
    **dict.fromkeys(("Trainer", "run_training"), "train"),
    "PAPER": "paper",
    "Model": "model",
    "cross_entropy": "loss",
    "load_run": "checkpoint",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use."""
    if name == "__version__":
        value: object = metadata.version("dlpapers-{{NAME}}")
    elif name in _EXPORTS:
        value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
