"""The staircase from counting bigrams to a GPT on characters, each step runnable."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lets_build_gpt.bigram import BigramModel
    from lets_build_gpt.model import Block, FeedForwardNetwork, Model, MultiHeadAttention, SelfAttention
    from lets_build_gpt.tokenizer import CharTokenizer

__all__ = [
    "BigramModel",
    "SelfAttention",
    "MultiHeadAttention",
    "FeedForwardNetwork",
    "Block",
    "Model",
    "CharTokenizer",
]

_MODULE = {"BigramModel": "bigram", "CharTokenizer": "tokenizer"}  # the rest is in model.py


def __getattr__(name: str) -> object:
    """Import a class when it is first asked for: torch takes seconds, and `--help` should not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE.get(name, 'model')}"), name)
