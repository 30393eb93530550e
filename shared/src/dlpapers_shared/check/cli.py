"""The command `python -m dlpapers_shared.check SUBJECT MODULE:NAME`. Exit status: 0 all correct, 1 not, 2 refused."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

from tyro.conf import Positional

from dlpapers_shared._common.cli import run
from dlpapers_shared.check.target import load, report_of

Dtype = Literal["float64", "float32"]
PROG = "python -m dlpapers_shared.check"


def check(subject: str, target: str, backward: str | None = None, **options: Any) -> None:
    """Print the report of a check. The exit status is 1 if it does not pass."""
    report = report_of(subject, target, backward, **options)
    print(report, flush=True)
    if not report.passed:
        sys.exit(1)


@dataclass
class Attention:
    """Check scaled dot-product attention f(q, k, v, mask), or a module of multi-head attention.

    Example: python -m dlpapers_shared.check attention mymodule:attention
    """

    target: Positional[str]
    """Your code, module:name or file.py:name: a function, a class or an instance."""
    backward: str | None = None
    """The module:name of a function g(dout, q, k, v, mask) that returns dq, dk, dv."""
    causal: bool = False
    """Whether f(q, k, v) must apply a causal mask by itself."""
    n_heads: int | None = None
    """Heads of a module that does not state them."""
    dtype: Dtype = "float64"
    """Dtype of the inputs."""
    seed: int = 0
    """Seed of the random inputs."""

    def __call__(self) -> None:
        """Print the report."""
        options: dict[str, Any] = {"causal": self.causal or None, "n_heads": self.n_heads}
        check("attention", self.target, self.backward, dtype=self.dtype, seed=self.seed, **options)


@dataclass
class MultiHeadAttention:
    """Check a module of multi-head attention; its weights are read by name or by shape.

    Example: python -m dlpapers_shared.check multi-head-attention mymodule:MyMultiHeadAttention
    """

    target: Positional[str]
    """Your code, module:name or file.py:name: a class, an instance, or a function without parameters that makes one."""
    n_heads: int | None = None
    """Heads, if no attribute states them."""
    causal: bool = False
    """Whether a module without a mask argument must apply a causal mask."""
    dtype: Dtype = "float64"
    """Dtype of inputs and weights."""
    seed: int = 0
    """Seed of the random inputs and weights."""

    def __call__(self) -> None:
        """Print the report."""
        options: dict[str, Any] = {"n_heads": self.n_heads, "causal": self.causal or None}
        check("multi_head_attention", self.target, dtype=self.dtype, seed=self.seed, **options)


@dataclass
class LayerNorm:
    """Check layer normalization: f(x, gamma, beta, eps), or a module.

    Example: python -m dlpapers_shared.check layer-norm mymodule:layer_norm --backward mymodule:layer_norm_backward
    """

    target: Positional[str]
    """Your code, module:name or file.py:name: a function, a class or an instance."""
    backward: str | None = None
    """The module:name of a function g(dy, x, gamma, beta, eps) that returns dx, dgamma, dbeta."""
    eps: float | None = None
    """Constant in the root; none is the default of f, or 1e-5."""
    dtype: Dtype = "float64"
    """Dtype of the inputs."""
    seed: int = 0
    """Seed of the random inputs."""

    def __call__(self) -> None:
        """Print the report."""
        check("layer_norm", self.target, self.backward, eps=self.eps, dtype=self.dtype, seed=self.seed)


@dataclass
class DecoderBlock:
    """Check a full decoder block: a module f(x), or f(x, memory) with cross-attention.

    Example: python -m dlpapers_shared.check decoder-block mymodule:Block --norm pre
    """

    target: Positional[str]
    """Your code, module:name or file.py:name: a class, an instance, or a function without parameters that makes one."""
    n_heads: int | None = None
    """Heads, if no attribute states them."""
    norm: Literal["pre", "post"] | None = None
    """Where the norms must be; none accepts both."""
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] | None = None
    """Activation function that the feed-forward network must have; none accepts each."""
    dtype: Dtype = "float64"
    """Dtype of inputs and weights."""
    seed: int = 0
    """Seed of the random inputs and weights."""

    def __call__(self) -> None:
        """Print the report."""
        options: dict[str, Any] = {"n_heads": self.n_heads, "norm": self.norm, "activation": self.activation}
        check("decoder_block", self.target, dtype=self.dtype, seed=self.seed, **options)


@dataclass
class PositionalEncoding:
    """Check the sinusoidal positional encoding f(context_length, d_model), or a module that adds it.

    Example: python -m dlpapers_shared.check positional-encoding mymodule:positional_encoding
    """

    target: Positional[str]
    """Your code, module:name or file.py:name: a function, a class or an instance."""
    dtype: Dtype = "float64"
    """Dtype of the table that the tolerance is for."""

    def __call__(self) -> None:
        """Print the report."""
        check("positional_encoding", self.target, dtype=self.dtype)


@dataclass
class _WithBackward:
    target: Positional[str]
    """Your code, module:name or file.py:name: a function."""
    backward: str | None = None
    """The module:name of the backward function, for NumPy."""
    dtype: Dtype = "float64"
    """Dtype of the inputs."""
    seed: int = 0
    """Seed of the random inputs."""


@dataclass
class Softmax(_WithBackward):
    """Check a softmax f(x), and its gradient g(dp, p).

    Example: python -m dlpapers_shared.check softmax mymodule:softmax
    """

    def __call__(self) -> None:
        """Print the report."""
        check("softmax", self.target, self.backward, dtype=self.dtype, seed=self.seed)


@dataclass
class CrossEntropy(_WithBackward):
    """Check a mean cross-entropy f(logits, targets), and its gradient g(logits, targets).

    Example: python -m dlpapers_shared.check cross-entropy mymodule:loss
    """

    def __call__(self) -> None:
        """Print the report."""
        check("cross_entropy", self.target, self.backward, dtype=self.dtype, seed=self.seed)


@dataclass
class LabelSmoothing(_WithBackward):
    """Check a label-smoothed cross-entropy f(logits, targets, label_smoothing), and its gradient.

    Example: python -m dlpapers_shared.check label-smoothing mymodule:smoothed_loss
    """

    def __call__(self) -> None:
        """Print the report."""
        check("label_smoothing", self.target, self.backward, dtype=self.dtype, seed=self.seed)


@dataclass
class _Function:
    target: Positional[str]
    """Your code, module:name or file.py:name: a function or a class."""
    dtype: Dtype = "float64"
    """Dtype of the inputs."""
    seed: int = 0
    """Seed of the random inputs."""


@dataclass
class Adam(_Function):
    """Check Adam: a function of one step, or a class of optimizers.

    Example: python -m dlpapers_shared.check adam mymodule:Adam
    """

    def __call__(self) -> None:
        """Print the report."""
        check("adam", self.target, dtype=self.dtype, seed=self.seed)


@dataclass
class TopK(_Function):
    """Check a top-k filter f(logits, top_k).

    Example: python -m dlpapers_shared.check top-k mymodule:top_k
    """

    def __call__(self) -> None:
        """Print the report."""
        check("top_k", self.target, dtype=self.dtype, seed=self.seed)


@dataclass
class TopP(_Function):
    """Check a top-p filter f(logits, top_p).

    Example: python -m dlpapers_shared.check top-p mymodule:top_p
    """

    def __call__(self) -> None:
        """Print the report."""
        check("top_p", self.target, dtype=self.dtype, seed=self.seed)


@dataclass
class Temperature(_Function):
    """Check a temperature f(logits, temperature).

    Example: python -m dlpapers_shared.check temperature mymodule:scale_logits
    """

    def __call__(self) -> None:
        """Print the report."""
        check("temperature", self.target, dtype=self.dtype, seed=self.seed)


@dataclass
class Schedule:
    """Check the warm-up schedule f(step, d_model, warmup_steps), or f(step).

    Example: python -m dlpapers_shared.check schedule mymodule:learning_rate --warmup-steps 4000
    """

    target: Positional[str]
    """Your code, module:name or file.py:name: a function."""
    d_model: int = 512
    """Width that f(step) uses."""
    warmup_steps: int = 4000
    """Warm-up steps that f(step) uses."""

    def __call__(self) -> None:
        """Print the report."""
        check("schedule", self.target, d_model=self.d_model, warmup_steps=self.warmup_steps)


@dataclass
class BpeEncoder:
    """Check a BPE encoder: f(word, merges), or a whole encoder f(text) against a reference.

    Example: python -m dlpapers_shared.check bpe-encoder mymodule:encode --reference tiktoken:gpt2
    """

    target: Positional[str]
    """Your code, module:name or file.py:name: a function, or of an object with a method encode."""
    reference: str | None = None
    """Correct encoder of texts: module:name, or tiktoken:gpt2 and the like. None checks f(word, merges)."""

    def __call__(self) -> None:
        """Print the report."""
        reference: Any = self.reference
        if reference is not None and not reference.startswith("tiktoken:"):
            reference = load(reference)
        check("bpe_encoder", self.target, reference=reference)


@dataclass
class BpeTrainer:
    """Check a BPE trainer f(words, num_merges) or f(text, num_merges), and name its tie-breaking rule.

    Example: python -m dlpapers_shared.check bpe-trainer mymodule:train --ties first
    """

    target: Positional[str]
    """Your code, module:name or file.py:name: a function."""
    ties: Literal["first", "ids", "bytes"] | None = None
    """Rule that it must follow; none accepts each."""

    def __call__(self) -> None:
        """Print the report."""
        check("bpe_trainer", self.target, ties=self.ties)


COMMANDS: dict[str, type] = {
    "attention": Attention,
    "multi-head-attention": MultiHeadAttention,
    "layer-norm": LayerNorm,
    "decoder-block": DecoderBlock,
    "positional-encoding": PositionalEncoding,
    "softmax": Softmax,
    "cross-entropy": CrossEntropy,
    "label-smoothing": LabelSmoothing,
    "adam": Adam,
    "schedule": Schedule,
    "bpe-encoder": BpeEncoder,
    "bpe-trainer": BpeTrainer,
    "top-k": TopK,
    "top-p": TopP,
    "temperature": Temperature,
}


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["--version"]:
        from importlib import metadata

        print(f"{PROG} {metadata.version('dlpapers-shared')}")
        return
    run(COMMANDS, prog=PROG, description="Compare your own implementation with a reference, forward and backward.")
