"""Attention Is All You Need (2017), arXiv:1706.03762, in PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformer_torch.attention import MultiHeadAttention, scaled_dot_product_attention
    from transformer_torch.config import TrainConfig, TransformerConfig
    from transformer_torch.data.batching import token_batches
    from transformer_torch.data.corpus import Corpus
    from transformer_torch.data.tokenizer import build_tokenizer, load_tokenizer
    from transformer_torch.inference.cache import KVCache
    from transformer_torch.inference.generate import beam_search, greedy_decode
    from transformer_torch.inference.translate import Translator
    from transformer_torch.layers import LayerNorm, PositionwiseFeedForward
    from transformer_torch.loss import LabelSmoothing
    from transformer_torch.model import Transformer
    from transformer_torch.positional import sinusoids
    from transformer_torch.recipes import RECIPES, DataConfig, Recipe
    from transformer_torch.training.optim import NoamSchedule
    from transformer_torch.training.trainer import Trainer

    __version__: str

# The module of each public name. Modules are imported at first use, because importing torch takes seconds.
_EXPORTS = {
    "scaled_dot_product_attention": "attention",
    "MultiHeadAttention": "attention",
    "PositionwiseFeedForward": "layers",
    "LayerNorm": "layers",
    "sinusoids": "positional",
    "TransformerConfig": "config",
    "Transformer": "model",
    "LabelSmoothing": "loss",
    "NoamSchedule": "training.optim",
    "TrainConfig": "config",
    "Trainer": "training.trainer",
    "Corpus": "data.corpus",
    "build_tokenizer": "data.tokenizer",
    "load_tokenizer": "data.tokenizer",
    "token_batches": "data.batching",
    "DataConfig": "recipes",
    "Recipe": "recipes",
    "RECIPES": "recipes",
    "KVCache": "inference.cache",
    "greedy_decode": "inference.generate",
    "beam_search": "inference.generate",
    "Translator": "inference.translate",
}

__all__ = [
    "scaled_dot_product_attention",
    "MultiHeadAttention",
    "PositionwiseFeedForward",
    "LayerNorm",
    "sinusoids",
    "TransformerConfig",
    "Transformer",
    "LabelSmoothing",
    "NoamSchedule",
    "TrainConfig",
    "Trainer",
    "Corpus",
    "build_tokenizer",
    "load_tokenizer",
    "token_batches",
    "DataConfig",
    "Recipe",
    "RECIPES",
    "KVCache",
    "greedy_decode",
    "beam_search",
    "Translator",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("dlpapers-transformer-torch")
    elif name in _EXPORTS:
        value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
