"""Settings of the model, the training run, the data and the sampling. Imports neither torch nor NumPy."""
# Replace: the fields of ModelConfig with the sizes that your paper names. Field docstrings are the help of the options.

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from MODULE._common import errors

DType = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the n-gram language model. The tokenizer determines the vocabulary size."""

    context_length: int = 8
    """Number of previous characters that predict the next one."""
    d_model: int = 16
    """Size of the vector of one character."""
    d_ff: int = 64
    """Number of hidden units."""
    dropout: float = 0.0
    """Probability that a hidden unit is set to zero in training."""

    def __post_init__(self) -> None:
        for name in ("context_length", "d_model", "d_ff"):
            errors.check_integer(name, getattr(self, name), 1)
        errors.check_fraction("dropout", self.dropout)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that shapes a training run, apart from model and data."""

    steps: int = 1000
    """Number of optimizer steps."""
    batch_size: int = 128
    """Examples per step."""
    lr: float = 0.02
    """Peak learning rate of AdamW."""
    warmup_steps: int = 50
    """Steps in which the learning rate rises linearly; it then follows a cosine to zero."""
    weight_decay: float = 0.01
    """Weight decay of the matrices."""
    grad_clip: float = 1.0
    """Gradient clipping threshold; 0 is off."""
    eval_every: int = 200
    """Steps between validations; each writes a line of metrics and a checkpoint."""
    seed: int = 0
    """Seed of weights, batches and dropout."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    dtype: DType = "auto"
    """Dtype of the matmuls; auto is bfloat16 where that is faster."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_every"):
            errors.check_integer(name, getattr(self, name), 1)
        errors.check_integer("warmup_steps", self.warmup_steps, 0)
        errors.check_integer("seed", self.seed, 0, 2**32 - 1)
        errors.check_positive("lr", self.lr)
        errors.check_not_negative("weight_decay", self.weight_decay)
        errors.check_not_negative("grad_clip", self.grad_clip)
        errors.check_choice("dtype", self.dtype, get_args(DType))


@dataclass(frozen=True)
class DataConfig:
    """How a text becomes training and validation data."""

    held_out: float = 0.1
    """Fraction of the lines, at the end of the text, that is held out for validation."""

    def __post_init__(self) -> None:
        errors.check_fraction("held_out", self.held_out, zero=False)


@dataclass(frozen=True)
class SamplingConfig:
    """How text is generated."""

    max_new_tokens: int = 200
    """Number of characters to generate."""
    temperature: float = 0.8
    """Logits are divided by it before sampling; 0 selects the most probable character."""

    def __post_init__(self) -> None:
        errors.check_integer("max_new_tokens", self.max_new_tokens, 0)
        errors.check_not_negative("temperature", self.temperature)
