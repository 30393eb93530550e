"""Attention Is All You Need (2017), arXiv:1706.03762, with nothing but NumPy, forward and backward."""

from attention_numpy.attention import MultiHeadAttention, scaled_dot_product_attention
from attention_numpy.layer import BackwardError, Layer, Parameter, ParameterVector
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
from attention_numpy.model import DecoderLayer, EncoderLayer, Transformer, TransformerConfig, causal_mask, padding_mask
from attention_numpy.optim import SGD, Adam, AdamW, LinearSchedule, NoamSchedule, clip_gradients

__all__ = [
    "Transformer",
    "TransformerConfig",
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
    "NoamSchedule",
    "LinearSchedule",
    "clip_gradients",
    "Layer",
    "Parameter",
    "ParameterVector",
    "BackwardError",
]
