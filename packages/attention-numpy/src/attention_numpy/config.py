"""Configurations of the models, the training run, and its data. Does not import NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from attention_numpy._common.errors import (
    check_bool,
    check_choice,
    check_divides,
    check_fraction,
    check_integer,
    check_not_negative,
    check_positive,
    invalid,
)

Norm = Literal["post", "pre"]
ScheduleName = Literal["linear", "cosine", "noam"]
TaskName = Literal["number-words", "number-digits", "copy", "reverse", "sort", "addition"]
NORMS = ("post", "pre")
SCHEDULES = ("linear", "cosine", "noam")
TASKS = ("number-words", "number-digits", "copy", "reverse", "sort", "addition", "text")
MAX_SEED = 2**63 - 1
MAX_DIGITS = 18  # sums of two 18-digit numbers fit into 64-bit integers


def _check_sizes(config: TransformerConfig | LanguageModelConfig | ModelConfig) -> None:
    """Check the fields that all models share."""
    for name in ("d_model", "n_heads", "n_layers", "d_ff"):
        check_integer(name, getattr(config, name), 1)
    check_divides("n_heads", config.n_heads, "d_model", config.d_model)
    check_fraction("dropout", config.dropout)
    check_choice("norm", config.norm, NORMS)


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of an encoder-decoder Transformer. The defaults are the base model of the paper's Table 3."""

    src_vocab_size: int
    """Number of source ids."""
    tgt_vocab_size: int
    """Number of target ids."""
    d_model: int = 512
    """Width of the residual stream."""
    n_heads: int = 8
    """Attention heads per layer. Must divide `d_model`."""
    n_layers: int = 6
    """Layers of the encoder, and of the decoder."""
    d_ff: int = 2048
    """Hidden width of the feed-forward network."""
    dropout: float = 0.1
    """Dropout probability, in [0, 1)."""
    norm: Norm = "post"
    """Place of LayerNorm: `post` is LayerNorm(x + Sublayer(x)), the paper's; `pre` is x + Sublayer(LayerNorm(x))."""
    final_norm: bool | None = None
    """Whether a LayerNorm follows each stack, as in torch.nn.Transformer. None: only with `norm` = "pre"."""
    tie_embeddings: bool = False
    """Whether both embeddings and the pre-softmax map share one matrix (section 3.4)."""
    pad_id: int = 0
    """Padding id. It is masked as a key and never generated."""

    def __post_init__(self) -> None:
        check_integer("src_vocab_size", self.src_vocab_size, 1)
        check_integer("tgt_vocab_size", self.tgt_vocab_size, 1)
        _check_sizes(self)
        check_bool(self, ["tie_embeddings", *(["final_norm"] if self.final_norm is not None else [])])
        if self.tie_embeddings and self.src_vocab_size != self.tgt_vocab_size:
            raise ValueError(
                "`tie_embeddings` needs equal vocabulary sizes, "
                f"got `src_vocab_size` = {self.src_vocab_size} and `tgt_vocab_size` = {self.tgt_vocab_size}"
            )
        check_integer("pad_id", self.pad_id, 0, min(self.src_vocab_size, self.tgt_vocab_size) - 1)

    @property
    def has_final_norm(self) -> bool:
        """Whether a LayerNorm follows each stack."""
        return self.norm == "pre" if self.final_norm is None else self.final_norm


@dataclass(frozen=True)
class LanguageModelConfig:
    """Sizes of a decoder-only language model."""

    vocab_size: int
    """Number of ids."""
    d_model: int = 128
    """Width of the residual stream."""
    n_heads: int = 4
    """Attention heads per layer. Must divide `d_model`."""
    n_layers: int = 2
    """Number of layers."""
    d_ff: int = 512
    """Hidden width of the feed-forward network."""
    dropout: float = 0.1
    """Dropout probability, in [0, 1)."""
    norm: Norm = "pre"
    """Place of LayerNorm: `post` or `pre`."""

    def __post_init__(self) -> None:
        check_integer("vocab_size", self.vocab_size, 1)
        _check_sizes(self)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a model to train. Its vocabulary sizes follow from the data."""

    d_model: int = 64
    """Width of the residual stream."""
    n_heads: int = 4
    """Attention heads per layer. Must divide `d_model`."""
    n_layers: int = 2
    """Layers of the encoder and of the decoder, or of the language model."""
    d_ff: int = 256
    """Hidden width of the feed-forward network."""
    dropout: float = 0.0
    """Dropout probability, in [0, 1)."""
    norm: Norm = "post"
    """Place of LayerNorm: `post` as in the paper, or `pre`."""

    def __post_init__(self) -> None:
        _check_sizes(self)


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch size, learning rate and evaluation of a training run."""

    steps: int = 1000
    """Optimizer steps."""
    batch_size: int = 64
    """Sequences per step."""
    lr: float = 2e-3
    """Peak learning rate of the schedules `linear` and `cosine`."""
    lr_scale: float = 1.0
    """Factor of the schedule `noam`, whose learning rate follows from `d_model` (Eq. 3)."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises."""
    schedule: ScheduleName = "linear"
    """Learning-rate schedule: `linear` and `cosine` decay to zero, `noam` is the paper's."""
    label_smoothing: float = 0.0
    """Label smoothing, in [0, 1]."""
    grad_clip: float = 1.0
    """Maximum gradient norm. 0 disables clipping."""
    eval_every: int = 200
    """Steps between evaluations on held-out data."""
    eval_count: int = 500
    """Held-out examples per evaluation."""
    checkpoint_every: int | None = None
    """Steps between checkpoints. None: as `eval_every`."""
    seed: int = 0
    """Seed of the parameters, the batches and dropout."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "warmup_steps", "eval_every", "eval_count"):
            check_integer(name, getattr(self, name), 1)
        if self.checkpoint_every is not None:
            check_integer("checkpoint_every", self.checkpoint_every, 1)
        check_not_negative("lr", self.lr)
        check_positive("lr_scale", self.lr_scale)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_fraction("label_smoothing", self.label_smoothing, one=True)
        check_not_negative("grad_clip", self.grad_clip)
        check_integer("seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True)
class DataConfig:
    """The data of a training run: a synthetic task, or a text file."""

    task: TaskName | Literal["text"] = "number-words"
    """Synthetic task, or `text` for a language model of a text file."""
    digits: int = 3
    """Digits of the numbers to add (task `addition`)."""
    sum_reversed: bool = True
    """Whether the sum is written from its last digit to its first (task `addition`)."""
    sparse: float = 0.5
    """Fraction of the training pairs in which each digit is 0 with probability 1/2 (task `addition`)."""
    text: Path | None = None
    """UTF-8 text file to model character by character (task `text`)."""
    context_length: int = 64
    """Characters per training sequence (task `text`)."""

    def __post_init__(self) -> None:
        check_choice("task", self.task, TASKS)
        check_integer("digits", self.digits, 1, MAX_DIGITS)
        check_bool(self, ["sum_reversed"])
        check_fraction("sparse", self.sparse, one=True)
        check_integer("context_length", self.context_length, 1)
        if self.text is not None and self.task != "text":
            raise ValueError(f"`text` must be left out with task {self.task}, got {str(self.text)!r}")


Config = TypeVar("Config", TransformerConfig, LanguageModelConfig, TrainConfig, DataConfig)


def config_from_json(cls: type[Config], values: object, where: str) -> Config:
    """Build a configuration from the object that config.json holds for it.

    Raises: ValueError that starts with `where` if a field is missing, unknown or has a bad value.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: must be a JSON object, got {type(values).__name__}")
    names = {field.name for field in fields(cls)}
    found: dict[str, Any] = {name: value for name, value in values.items() if name in names}
    if missing := sorted(names - set(found)):
        raise ValueError(f"{where}: `{missing[0]}` is missing")
    if unknown := sorted(set(values) - names - {"fingerprint"}):
        raise ValueError(f"{where}: `{unknown[0]}` is not known to this version")
    try:
        if "text" in found:
            if found["text"] is not None and not isinstance(found["text"], str):
                raise invalid("text", "be a path", found["text"])
            found["text"] = None if found["text"] is None else Path(found["text"])
        return cls(**found)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
