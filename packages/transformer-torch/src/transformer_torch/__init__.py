"""Attention Is All You Need (2017), arXiv:1706.03762, in PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformer_torch.attention import MultiHeadAttention, scaled_dot_product_attention
    from transformer_torch.config import TrainConfig, TransformerConfig
    from transformer_torch.decode import beam_search, greedy_decode
    from transformer_torch.layers import LayerNorm, PositionwiseFeedForward
    from transformer_torch.loss import LabelSmoothing
    from transformer_torch.model import Transformer
    from transformer_torch.positional import sinusoids
    from transformer_torch.schedule import NoamSchedule
    from transformer_torch.train import Trainer
    from transformer_torch.translate import Translator

# Where each name is found. Torch is imported with the first of them, so that the command line answers at once.
_HOMES = {
    "scaled_dot_product_attention": "attention",
    "MultiHeadAttention": "attention",
    "PositionwiseFeedForward": "layers",
    "LayerNorm": "layers",
    "sinusoids": "positional",
    "TransformerConfig": "config",
    "Transformer": "model",
    "LabelSmoothing": "loss",
    "NoamSchedule": "schedule",
    "TrainConfig": "config",
    "Trainer": "train",
    "greedy_decode": "decode",
    "beam_search": "decode",
    "Translator": "translate",
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
    "greedy_decode",
    "beam_search",
    "Translator",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
