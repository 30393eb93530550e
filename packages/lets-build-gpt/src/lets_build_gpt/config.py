"""Settings of a model, its optimizers and a training run. Each field is an option of `lets-build-gpt train`.

Values out of range, of a wrong type, or that do not fit together raise ValueError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lets_build_gpt._common.errors import (
    check_bool,
    check_choice,
    check_divides,
    check_fraction,
    check_integer,
    check_not_negative,
    check_positive,
    invalid,
)

ACTIVATIONS = ("relu", "gelu", "swiglu")
NORMS = ("layer", "rms", "none")
POSITIONS = ("learned", "rope")
ATTENTIONS = ("softmax", "mean")
OPTIMIZERS = ("muon", "adamw")
DTYPES = ("auto", "float32", "bfloat16", "float16")
WARMUP_FRACTION = 0.05  # of the steps, where `warmup_steps` is None


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model."""

    context_length: int = 64
    """Number of tokens that a prediction can attend to."""
    d_model: int = 128
    """Width of the residual stream."""
    n_heads: int = 4
    """Attention heads per block; must divide d_model."""
    n_layers: int = 4
    """Number of blocks."""
    vocab_size: int = 65
    """Number of distinct tokens; training takes it from the text."""
    dropout: float = 0.0
    """Dropout probability of the attention weights and of each branch's output."""
    attention_dropout: float | None = None
    """Dropout probability of the attention weights alone; by default that of `dropout`."""
    activation: Literal["relu", "gelu", "swiglu"] = "relu"
    """Activation of the feed-forward layers; `swiglu` is gated and has three matrices."""
    bias: bool = True
    """Whether projections, feed-forward layers, norms and head have biases. Queries, keys and values never do."""
    tie_embeddings: bool = False
    """Whether the token embedding and the head share one matrix."""
    d_ff: int | None = None
    """Width of the feed-forward layers; 0 leaves them out; by default 4 d_model, for `swiglu` about 8/3 d_model."""
    attention: Literal["softmax", "mean"] = "softmax"
    """How tokens exchange information: `softmax` is self-attention, `mean` the plain mean of the past."""
    residual: bool = True
    """Whether each branch adds to its input (residual connection) instead of replacing it."""
    norm_type: Literal["layer", "rms", "none"] = "layer"
    """Normalization before each branch and before the head: LayerNorm, RMSNorm or none."""
    positions: Literal["learned", "rope"] = "learned"
    """Positional encoding: a learned embedding per position, or rotated queries and keys (RoPE)."""
    qk_norm: bool = False
    """Whether queries and keys are normalized (RMSNorm over each head)."""
    value_embeddings: bool = False
    """Whether each block has a token embedding that is mixed into the values of its attention."""
    x0_skip: bool = False
    """Whether the input of each block is mixed with the token embedding."""
    zero_init: bool = False
    """Whether the projections that write to the residual stream start at zero."""
    logit_cap: float | None = None
    """Bound of the logits, cap * tanh(logits / cap); by default none."""

    def __post_init__(self) -> None:
        for name in ("context_length", "d_model", "n_heads", "n_layers", "vocab_size"):
            check_integer(name, getattr(self, name), 1)
        check_divides("n_heads", self.n_heads, "d_model", self.d_model)
        check_fraction("dropout", self.dropout)
        if self.attention_dropout is not None:
            check_fraction("attention_dropout", self.attention_dropout)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("attention", self.attention, ATTENTIONS)
        check_choice("norm_type", self.norm_type, NORMS)
        check_choice("positions", self.positions, POSITIONS)
        check_bool(self, ("bias", "tie_embeddings", "residual"))
        check_bool(self, ("qk_norm", "value_embeddings", "x0_skip", "zero_init"))
        if self.d_ff is not None:
            check_integer("d_ff", self.d_ff, 0)
        if self.logit_cap is not None:
            check_positive("logit_cap", self.logit_cap)
        self._check_combination()

    def _check_combination(self) -> None:
        """Raise ValueError for parts that do not fit together."""
        if self.positions == "rope" and self.d_model // self.n_heads % 2:
            raise invalid("d_model", "be an even multiple of `n_heads` for `positions` = 'rope'", self.d_model)
        if self.attention == "mean":
            if self.n_heads != 1:
                raise invalid("n_heads", "be 1 for `attention` = 'mean'", self.n_heads)
            if self.positions == "rope" or self.qk_norm or self.value_embeddings:
                fix = "RoPE, QK-norm and value embeddings are parts of self-attention"
                raise invalid("attention", "be 'softmax' with these options", self.attention, fix)
        if self.zero_init and not self.residual:
            raise invalid("zero_init", "be False without residual connections: every output would be zero", True)


@dataclass(frozen=True)
class OptimConfig:
    """The optimizers and their learning rates."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """`muon`: Muon for the blocks' matrices, AdamW for the rest; `adamw`: AdamW for all."""
    lr: float = 4e-3
    """Peak learning rate of AdamW."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon."""
    warmup_steps: int | None = None
    """Steps in which the learning rates rise, before they decay linearly to zero; by default 5 % of `steps`."""
    momentum: float = 0.95
    """Momentum of Muon."""
    beta2: float = 0.99
    """Decay of AdamW's second moment; the first moment's is 0.9."""
    weight_decay: float = 0.01
    """Decoupled weight decay of the blocks' matrices."""
    grad_clip: float = 1.0
    """Maximum norm of the gradient of AdamW's parameters; 0 disables clipping."""

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_positive("lr", self.lr)
        check_positive("muon_lr", self.muon_lr)
        if self.warmup_steps is not None:
            check_integer("warmup_steps", self.warmup_steps, 0)
        check_fraction("momentum", self.momentum)
        check_fraction("beta2", self.beta2)
        check_not_negative("weight_decay", self.weight_decay)
        check_not_negative("grad_clip", self.grad_clip)


@dataclass(frozen=True)
class TrainConfig:
    """Batches, duration, evaluation and device of a training run."""

    batch_size: int = 16
    """Windows per batch."""
    steps: int = 2000
    """Optimizer steps."""
    eval_every: int = 500
    """Steps between evaluations of the whole validation split; the last step is always evaluated."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; by default `eval_every`. Each evaluation also writes one."""
    sample_tokens: int = 200
    """Length of the sample text that each evaluation prints, in tokens."""
    seed: int = 1337
    """Seed of the initial weights, the batches and dropout."""
    device: str = "auto"
    """Device: cpu, cuda, mps, or auto (the first that is available of cuda, mps, cpu)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Autocast dtype of training; `auto`: bfloat16 where it is faster, else float32. Evaluation uses float32."""
    num_threads: int | None = None
    """CPU threads; by default PyTorch's choice."""
    compile: bool = False
    """Compile the model with torch.compile: faster on a GPU, slow to start."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "eval_every"):
            check_integer(name, getattr(self, name), 1)
        for name in ("checkpoint_every", "num_threads"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        check_integer("sample_tokens", self.sample_tokens, 0)
        check_integer("seed", self.seed, 0, 2**62)
        if not isinstance(self.device, str):
            raise invalid("device", "be a string", self.device)
        check_choice("dtype", self.dtype, DTYPES)
        check_bool(self, ("compile",))


def resolve_warmup(optim: OptimConfig, steps: int) -> int:
    """Return the number of warm-up steps of a run of `steps` steps.

    Raises: ValueError if they are more than the run has.
    """
    if optim.warmup_steps is None:
        return round(WARMUP_FRACTION * steps)
    if optim.warmup_steps > steps:
        raise invalid("warmup_steps", f"be at most `steps` = {steps}", optim.warmup_steps)
    return optim.warmup_steps


def steps_for(tokens: int, batch_size: int, context_length: int) -> int:
    """Return how many batches `tokens` tokens fill, at least one.

    >>> steps_for(1_536_000, batch_size=12, context_length=64)
    2000
    """
    return max(1, tokens // (batch_size * context_length))
