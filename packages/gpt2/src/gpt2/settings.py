"""What a user may set, as plain dataclasses: nothing here imports torch, so the command line answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DTypeName = Literal["auto", "float32", "bfloat16", "float16"]
Overflow = Literal["rebase", "crop"]
Parallel = Literal["ddp", "fsdp"]
Weights = Literal["float32", "float16", "bfloat16", "int8"]
Task = Literal["wikitext2", "lambada", "hellaswag"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. The defaults draw from the model's own distribution."""

    temperature: float = 1.0
    """Divides the logits; 0 always takes the likeliest token."""
    top_k: int = 0
    """Keep the k likeliest tokens (and ties with the k-th); 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of likeliest tokens whose probabilities sum to more than this."""
    min_p: float = 0.0
    """Keep tokens at least this fraction as likely as the likeliest."""
    repetition_penalty: float = 1.0
    """Positive logits of tokens already in the text are divided by this, negative ones multiplied."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature: {self.temperature} is not a number from 0 on")
        if self.top_k < 0:
            raise ValueError(f"top_k: {self.top_k} is negative")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is not in [0, 1]")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p: {self.min_p} is not in [0, 1]")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(f"repetition_penalty: {self.repetition_penalty} is not a positive number")


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are moved."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: orthogonalised momentum for the matrices of the blocks, AdamW for the rest."""
    lr: float = 6e-4
    """The highest learning rate."""
    warmup: int = 100
    """Steps in which the rate rises from zero."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How it falls afterwards."""
    final_lr: float = 0.1
    """Where it ends, as a fraction of the highest."""
    weight_decay: float = 0.1
    """Of matrices and embeddings; biases and norms do not decay."""
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    """Greatest norm of the gradient; 0 leaves it as it is."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    steps: int = 1000
    batch_size: int = 32
    """Windows in one step, over all processes and micro-batches."""
    micro_batch: int = 0
    """Windows that go through the model of one process at once; 0: all of its share. The gradient is the same."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    dtype: DTypeName = "auto"
    """What products are computed in (autocast); weights and optimizer stay float32."""
    compile: bool = False
    """torch.compile: faster on a GPU, slow to start."""
    checkpoint_blocks: bool = False
    """Keep one activation a block and compute the others again in the backward pass: less memory, a third slower."""
    parallel: Parallel = "ddp"
    """Under torchrun: each process holds the whole model (ddp) or a part of it (fsdp)."""
    mfu: bool = False
    """Measure what matrix products reach on this device first, and log the share of it that the run has."""
    log_every: int = 10
    eval_every: int = 200
    """Steps between validations and checkpoints; both also at the end."""
    patience: int = 0
    """Stop after so many validations without a better loss, and keep the best model; 0: never."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not a positive number")
        if self.micro_batch < 0:
            raise ValueError(f"micro_batch: {self.micro_batch} is negative")
