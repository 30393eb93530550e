"""Configuration of the model, of sampling, and of training. Imports neither torch nor numpy, so the CLI starts fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gpt2._common.errors import (
    check_bool,
    check_choice,
    check_divides,
    check_fraction,
    check_integer,
    check_not_negative,
    check_positive,
    is_integer,
)

Activation = Literal["gelu_tanh", "gelu"]
DTypeName = Literal["auto", "float32", "bfloat16", "float16"]
Order = Literal["random", "epochs", "documents"]
Overflow = Literal["context_shift", "crop"]
Parallel = Literal["ddp", "fsdp"]
Size = Literal["124M", "355M", "774M", "1558M"]
Task = Literal["wikitext2", "lambada", "hellaswag"]
Weights = Literal["float32", "float16", "bfloat16", "int8"]

SIZES: dict[str, tuple[int, int, int]] = {  # Table 2 of the paper: (n_layers, d_model, n_heads), named as OpenAI does
    "124M": (12, 768, 12),
    "355M": (24, 1024, 16),
    "774M": (36, 1280, 20),
    "1558M": (48, 1600, 25),
}
GPT2_EOS_ID = 50256  # <|endoftext|> in GPT-2's vocabulary


@dataclass(frozen=True)
class GPT2Config:
    """Shape of a model. The defaults are those of GPT-2 124M.

    >>> GPT2Config(d_model=8, n_heads=3)
    Traceback (most recent call last):
    ValueError: `n_heads` must divide `d_model` = 8, got 3
    """

    vocab_size: int = 50257
    """Number of token ids."""
    context_length: int = 1024
    """Longest input in tokens."""
    d_model: int = 768
    """Width of the residual stream."""
    n_heads: int = 12
    """Attention heads in each layer."""
    n_layers: int = 12
    """Number of blocks."""
    dropout: float = 0.1
    """Dropout of embeddings, attention weights, and the output of each sub-block."""
    d_ff: int | None = None
    """Inner width of the feed-forward network; 4 d_model by default."""
    tie_embeddings: bool = True
    """Share the token embedding with the output head."""
    activation: Activation = "gelu_tanh"
    """GPT-2 uses the tanh approximation of GELU; nanoGPT uses the exact one."""
    layer_norm_eps: float = 1e-5
    """Added to the variance in LayerNorm."""
    window: int | None = None
    """Sliding-window attention: attend to the last `window` tokens only (not in GPT-2)."""
    eos_id: int | None = None
    """Token that ends a document, if the vocabulary has one."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "d_model", "n_heads", "n_layers"):
            check_integer(name, getattr(self, name), 1)
        check_divides("n_heads", self.n_heads, "d_model", self.d_model)
        check_fraction("dropout", self.dropout)
        check_bool(self, ["tie_embeddings"])
        check_choice("activation", self.activation, get_args(Activation))
        check_positive("layer_norm_eps", self.layer_norm_eps)
        for name in ("window", "d_ff"):
            if (value := getattr(self, name)) is not None:
                check_integer(name, value, 1)
        if self.eos_id is not None:
            check_integer("eos_id", self.eos_id, 0, self.vocab_size - 1)

    @staticmethod
    def named(size: str, **changes: Any) -> GPT2Config:
        """Return the config of one of the paper's four sizes; `changes` override single fields.

        >>> GPT2Config.named("1558M").d_model
        1600
        """
        check_choice("size", size, SIZES)
        n_layers, d_model, n_heads = SIZES[size]
        vocab_size = changes.get("vocab_size", GPT2Config.vocab_size)
        eos_id = GPT2_EOS_ID if is_integer(vocab_size) and vocab_size > GPT2_EOS_ID else None
        config: dict[str, Any] = {"n_layers": n_layers, "d_model": d_model, "n_heads": n_heads, "eos_id": eos_id}
        return GPT2Config(**(config | changes))


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is sampled. The defaults sample from the model's own distribution."""

    temperature: float = 1.0
    """Divides the logits; 0 always takes the most probable token."""
    top_k: int = 0
    """Keep the k most probable tokens, and ties with the k-th; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of most probable tokens whose probabilities sum to at least this."""
    min_p: float = 0.0
    """Keep tokens at least this fraction as probable as the most probable one."""
    repetition_penalty: float = 1.0
    """Divides positive logits of tokens already in the text and multiplies negative ones."""

    def __post_init__(self) -> None:
        check_not_negative("temperature", self.temperature)
        check_integer("top_k", self.top_k, 0)
        check_fraction("top_p", self.top_p, one=True)
        check_fraction("min_p", self.min_p, one=True)
        check_positive("repetition_penalty", self.repetition_penalty)


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer and learning-rate schedule."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW for all weights, or Muon for the matrices of the blocks and AdamW for the rest."""
    lr: float = 6e-4
    """Peak learning rate."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises linearly from zero."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay of the learning rate after the warm-up."""
    final_lr: float = 0.1
    """Learning rate of the last step, as a fraction of the peak."""
    weight_decay: float = 0.1
    """Decoupled weight decay of matrices and embeddings; biases and norms have none."""
    beta1: float = 0.9
    """AdamW's decay of the mean of the gradient."""
    beta2: float = 0.95
    """AdamW's decay of the mean of the squared gradient."""
    grad_clip: float = 1.0
    """Maximum norm of the gradient; 0 disables clipping."""

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, ("adamw", "muon"))
        check_positive("lr", self.lr)
        check_integer("warmup_steps", self.warmup_steps, 0)
        check_choice("schedule", self.schedule, ("cosine", "linear", "constant"))
        check_fraction("final_lr", self.final_lr, one=True)
        check_not_negative("weight_decay", self.weight_decay)
        check_fraction("beta1", self.beta1)
        check_fraction("beta2", self.beta2)
        check_not_negative("grad_clip", self.grad_clip)


@dataclass(frozen=True)
class TrainConfig:
    """Training settings."""

    steps: int = 1000
    """Optimizer steps."""
    batch_size: int = 32
    """Sequences in one step, over all processes and micro-batches."""
    micro_batch: int = 0
    """Sequences in one forward pass of one process; 0: all. The gradient is the same."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer and learning-rate schedule."""
    dtype: DTypeName = "auto"
    """Autocast dtype of matmuls; weights and optimizer states stay float32."""
    compile: bool = False
    """Use torch.compile: faster on a GPU, slow to start."""
    activation_checkpointing: bool = False
    """Recompute the activations of each block in the backward pass: less memory, a third more time."""
    parallel: Parallel = "ddp"
    """Under torchrun: replicate the model in each process (ddp), or shard it over them (fsdp)."""
    report_mfu: bool = False
    """Measure the peak matmul throughput first, and log the share of it that the run reaches."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    eval_every: int = 200
    """Steps between evaluations on the held-out data; one more at the end."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; by default at each evaluation."""
    patience: int = 0
    """Stop after this many evaluations without a better loss and keep the best model; 0 disables early stopping."""
    seed: int = 0
    """Seed of initialization, data order, and dropout."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "eval_every"):
            check_integer(name, getattr(self, name), 1)
        if self.checkpoint_every is not None:
            check_integer("checkpoint_every", self.checkpoint_every, 1)
        for name in ("micro_batch", "patience", "seed"):
            check_integer(name, getattr(self, name), 0)
        check_choice("dtype", self.dtype, get_args(DTypeName))
        check_choice("parallel", self.parallel, get_args(Parallel))
        check_bool(self, ["compile", "activation_checkpointing", "report_mfu"])
