"""From a bigram count table to a character-level GPT, one small step at a time."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lets_build_gpt.attention import MultiHeadAttention, SelfAttention
    from lets_build_gpt.bigram import BigramModel
    from lets_build_gpt.cache import KVCache
    from lets_build_gpt.checkpoint import load_run
    from lets_build_gpt.config import ModelConfig, OptimConfig, TrainConfig
    from lets_build_gpt.data import load_text
    from lets_build_gpt.layers import Block, FeedForwardNetwork
    from lets_build_gpt.model import Intermediates, Model
    from lets_build_gpt.recipes import RECIPES, Recipe
    from lets_build_gpt.tokenizer import CharTokenizer
    from lets_build_gpt.train import Trainer

    __version__: str

# the module of each public name; imported on first use, because PyTorch takes seconds to import
_EXPORTS = {
    "BigramModel": "bigram",
    "SelfAttention": "attention",
    "MultiHeadAttention": "attention",
    "FeedForwardNetwork": "layers",
    "Block": "layers",
    "Model": "model",
    "Intermediates": "model",
    "KVCache": "cache",
    "CharTokenizer": "tokenizer",
    "ModelConfig": "config",
    "OptimConfig": "config",
    "TrainConfig": "config",
    "Recipe": "recipes",
    "RECIPES": "recipes",
    "Trainer": "train",
    "load_run": "checkpoint",
    "load_text": "data",
}

__all__ = [
    "BigramModel",
    "SelfAttention",
    "MultiHeadAttention",
    "FeedForwardNetwork",
    "Block",
    "Model",
    "Intermediates",
    "KVCache",
    "CharTokenizer",
    "ModelConfig",
    "OptimConfig",
    "TrainConfig",
    "Recipe",
    "RECIPES",
    "Trainer",
    "load_run",
    "load_text",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "__version__":
        value: Any = metadata.version("dlpapers-lets-build-gpt")
    elif name in _EXPORTS:
        value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names for tab completion, imported or not."""
    return sorted({*globals(), *__all__})
