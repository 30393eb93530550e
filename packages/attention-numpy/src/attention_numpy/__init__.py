"""Attention Is All You Need (2017), arXiv:1706.03762, in NumPy: every layer has a hand-written backward pass."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attention_numpy.anomaly import AnomalyError, detect_anomaly
    from attention_numpy.attention import MultiHeadAttention, scaled_dot_product_attention
    from attention_numpy.blocks import DecoderLayer, EncoderLayer
    from attention_numpy.cache import KVCache
    from attention_numpy.checkpoint import load_run
    from attention_numpy.config import DataConfig, LanguageModelConfig, ModelConfig, TrainConfig, TransformerConfig
    from attention_numpy.generate import generate
    from attention_numpy.gradcheck import check_layer
    from attention_numpy.language_model import LanguageModel
    from attention_numpy.layers import (
        Dropout,
        Embedding,
        LayerNorm,
        Linear,
        PositionalEncoding,
        PositionwiseFeedForward,
        ReLU,
        sinusoid,
    )
    from attention_numpy.loss import cross_entropy
    from attention_numpy.model import Transformer, causal_mask, padding_mask
    from attention_numpy.module import BackwardError, Module, Parameter, ParameterVector
    from attention_numpy.optim import SGD, Adam, AdamW, clip_gradients, cosine, linear, noam
    from attention_numpy.recipes import RECIPES, Recipe
    from attention_numpy.safetensors_io import read_safetensors, write_safetensors
    from attention_numpy.train import Trainer

# name -> module that defines it, in the order of the paper; imported on first use
_EXPORTS = {
    "Transformer": "model",
    "TransformerConfig": "config",
    "LanguageModel": "language_model",
    "LanguageModelConfig": "config",
    "EncoderLayer": "blocks",
    "DecoderLayer": "blocks",
    "causal_mask": "model",
    "padding_mask": "model",
    "MultiHeadAttention": "attention",
    "scaled_dot_product_attention": "attention",
    "PositionwiseFeedForward": "layers",
    "Embedding": "layers",
    "PositionalEncoding": "layers",
    "sinusoid": "layers",
    "LayerNorm": "layers",
    "Linear": "layers",
    "ReLU": "layers",
    "Dropout": "layers",
    "cross_entropy": "loss",
    "Adam": "optim",
    "AdamW": "optim",
    "SGD": "optim",
    "noam": "optim",
    "linear": "optim",
    "cosine": "optim",
    "clip_gradients": "optim",
    "generate": "generate",
    "KVCache": "cache",
    "Module": "module",
    "Parameter": "module",
    "ParameterVector": "module",
    "BackwardError": "module",
    "check_layer": "gradcheck",
    "detect_anomaly": "anomaly",
    "AnomalyError": "anomaly",
    "Trainer": "train",
    "TrainConfig": "config",
    "ModelConfig": "config",
    "DataConfig": "config",
    "Recipe": "recipes",
    "RECIPES": "recipes",
    "load_run": "checkpoint",
    "read_safetensors": "safetensors_io",
    "write_safetensors": "safetensors_io",
}

__all__ = [
    "Transformer",
    "TransformerConfig",
    "LanguageModel",
    "LanguageModelConfig",
    "EncoderLayer",
    "DecoderLayer",
    "causal_mask",
    "padding_mask",
    "MultiHeadAttention",
    "scaled_dot_product_attention",
    "PositionwiseFeedForward",
    "Embedding",
    "PositionalEncoding",
    "sinusoid",
    "LayerNorm",
    "Linear",
    "ReLU",
    "Dropout",
    "cross_entropy",
    "Adam",
    "AdamW",
    "SGD",
    "noam",
    "linear",
    "cosine",
    "clip_gradients",
    "generate",
    "KVCache",
    "Module",
    "Parameter",
    "ParameterVector",
    "BackwardError",
    "check_layer",
    "detect_anomaly",
    "AnomalyError",
    "Trainer",
    "TrainConfig",
    "ModelConfig",
    "DataConfig",
    "Recipe",
    "RECIPES",
    "load_run",
    "read_safetensors",
    "write_safetensors",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, and keep it."""
    if name == "__version__":
        value: Any = metadata.version("dlpapers-attention-numpy")
    elif name in _EXPORTS:
        value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
