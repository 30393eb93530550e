"""GPT-2 in PyTorch: "Language Models are Unsupervised Multitask Learners" (Radford et al. 2019).

The public names are imported on first use, because importing torch takes seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2.config import GPT2Config, OptimConfig, SamplingConfig, TrainConfig
    from gpt2.evaluation.perplexity import evaluate_text
    from gpt2.inference import sampling
    from gpt2.inference.cache import KVCache
    from gpt2.inference.generate_text import generate_text
    from gpt2.inference.quantize import Decoder
    from gpt2.model import GPT2
    from gpt2.paper import PAPER, Paper
    from gpt2.recipes import RECIPES, Recipe
    from gpt2.training.trainer import Trainer

    __version__: str

__all__ = [
    "GPT2",
    "GPT2Config",
    "SamplingConfig",
    "OptimConfig",
    "TrainConfig",
    "Trainer",
    "KVCache",
    "Decoder",
    "sampling",
    "generate_text",
    "evaluate_text",
    "Recipe",
    "RECIPES",
    "Paper",
    "PAPER",
]

_EXPORTS = {
    "GPT2": "gpt2.model",
    "GPT2Config": "gpt2.config",
    "SamplingConfig": "gpt2.config",
    "OptimConfig": "gpt2.config",
    "TrainConfig": "gpt2.config",
    "Trainer": "gpt2.training.trainer",
    "KVCache": "gpt2.inference.cache",
    "Decoder": "gpt2.inference.quantize",
    "generate_text": "gpt2.inference.generate_text",
    "evaluate_text": "gpt2.evaluation.perplexity",
    "Recipe": "gpt2.recipes",
    "RECIPES": "gpt2.recipes",
    "Paper": "gpt2.paper",
    "PAPER": "gpt2.paper",
}


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("dlpapers-gpt2")
    elif name == "sampling":
        value = importlib.import_module("gpt2.inference.sampling")
    elif name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
    else:
        raise AttributeError(f"module 'gpt2' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
