"""Named training recipes: model, training, and data settings with their measured results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpt2.config import GPT2Config, OptimConfig, TrainConfig


@dataclass(frozen=True)
class RecipeData:
    """Text and tokenizer of a recipe. The token files are written to the run's folder `data`."""

    text: Literal["python-docs", "shakespeare"]
    """The reference documentation inside Python, or tiny shakespeare (downloaded by dlpapers-shared)."""
    tokenizer: Literal["bytes", "bpe"] = "bytes"
    """Bytes, or a byte-level BPE that is trained on the text (by dlpapers-bpe)."""
    vocab_size: int = 257
    """Number of tokens, the end-of-text token included."""
    held_out: float = 0.1
    """Fraction of the text at its end that is kept for validation."""
    eval_windows: int = 0
    """Held-out windows in an evaluation; 0: all."""


@dataclass(frozen=True)
class Recipe:
    """A named configuration."""

    name: str
    description: str
    model: GPT2Config
    train: TrainConfig
    data: RecipeData


DEMO = Recipe(
    name="demo",
    description="Bytes of Python's documentation, 0.8 million parameters: 2.03 nats per byte, 1 CPU-min.",
    model=GPT2Config(vocab_size=257, context_length=128, d_model=128, n_heads=4, n_layers=4, dropout=0.0, eos_id=256),
    train=TrainConfig(
        steps=300,
        batch_size=16,
        optim=OptimConfig(optimizer="muon", lr=4e-3, warmup_steps=20, schedule="linear", final_lr=0.0),
        dtype="float32",
        eval_every=75,
    ),
    data=RecipeData("python-docs", eval_windows=128),
)

SHAKESPEARE_BPE = Recipe(
    name="shakespeare-bpe",
    description="Tiny shakespeare with its own BPE, 5.0 million parameters: 1.59 nats per byte, 20 CPU-min.",
    model=GPT2Config(vocab_size=1024, context_length=128, d_model=256, n_heads=4, n_layers=6, dropout=0.2, eos_id=1023),
    train=TrainConfig(
        steps=1320,
        batch_size=32,
        optim=OptimConfig(optimizer="muon", lr=5e-3, warmup_steps=60, schedule="linear", final_lr=0.0),
        eval_every=220,
        seed=1337,
    ),
    data=RecipeData("shakespeare", "bpe", vocab_size=1024, held_out=0.02),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (DEMO, SHAKESPEARE_BPE)}
