"""Decoder blocks, post-norm (1706.03762, section 3.1) and pre-norm (GPT-2, section 2.3), and their common mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlpapers_shared.check.backend import Array
from dlpapers_shared.check.engine import mistakes
from dlpapers_shared.check.reference.transformer import MULTI_HEAD_MISTAKES, activation, layer_norm, multi_head

ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")

BLOCK_MISTAKES = [
    *mistakes(
        residual={
            "no attention": "no residual connection around the attention",
            "no ffn": "no residual connection around the feed-forward layer",
            "none": "no residual connections",
            "normalized": "the residual connection starts after the norm instead of before it",
        },
        norms={
            "first": "the first LayerNorm is used for both sublayers",
            "after": "the residual added after the norm: x + norm(sublayer(x))",
            "no first": "no norm for the attention",
            "no last": "no norm for the feed-forward layer",
            "none": "no norms",
            "unbiased": "LayerNorm with unbiased variance (Bessel's correction)",
        },
        ffn={
            "linear": "no activation function between the two layers of the feed-forward network",
            "outside": "the activation function comes after the second layer instead of the first",
            "no bias": "the biases of the feed-forward network are left out",
        },
        placement={"other": "post-norm and pre-norm confused"},
        sequence={
            "parallel": "attention and feed-forward network run in parallel, on the same input",
            "reversed": "the feed-forward network comes before the attention",
            "no cross": "the memory is ignored: no cross-attention",
            "self memory": "cross-attention to the decoder's own values instead of the memory",
        },
    ),
    *(m for m in MULTI_HEAD_MISTAKES if m.switches != {"over": "overflow"}),  # norms keep the scores small
]


@dataclass(frozen=True)
class Weights:
    """The weights of a block: attentions (self, and cross if there is one), norms (gamma, beta), and the FFN."""

    attentions: Sequence[Mapping[str, Array]]
    norms: Sequence[tuple[Array, Array]]
    ffn: tuple[Array, Array, Array, Array]


def block(
    x: Array,
    w: Weights,
    n_heads: int,
    *,
    norm: str,
    act: str,
    eps: float,
    memory: Array | None = None,
    residual: str = "",
    norms: str = "",
    ffn: str = "",
    placement: str = "",
    sequence: str = "",
    **switches: Any,
) -> Array:
    """Return a decoder block of x (batch, n, d_model), causal; with switches, what a common mistake computes.

    norm: pre, x + sublayer(norm(x)), or post, norm(x + sublayer(x)). act: one of ACTIVATIONS.
    """
    if placement == "other":
        norm = "post" if norm == "pre" else "pre"
    causal = np.tril(np.ones((x.shape[1], x.shape[1]), bool))
    w1, b1, w2, b2 = w.ffn
    if ffn == "no bias":
        b1, b2 = np.zeros(b1.shape), np.zeros(b2.shape)

    def attend(y: Array) -> Array:
        return multi_head(y, w.attentions[0], n_heads, causal, **switches)

    def cross(y: Array) -> Array:
        return multi_head(y, w.attentions[1], n_heads, None, y if sequence == "self memory" else memory)

    def feed_forward(y: Array) -> Array:
        hidden = y @ w1 + b1
        hidden = hidden if ffn in ("linear", "outside") else activation(hidden, act)
        out = hidden @ w2 + b2
        return activation(out, act) if ffn == "outside" else out

    sublayers: list[tuple[str, Callable[[Array], Array]]] = [("attention", attend)]
    if len(w.attentions) > 1:
        sublayers.append(("cross", cross))
    sublayers.append(("ffn", feed_forward))
    numbered = list(enumerate(sublayers))
    if sequence == "reversed":
        numbered = numbered[::-1]
    if sequence == "no cross":
        if len(w.attentions) < 2:
            raise ValueError("this block has no cross-attention")
        numbered = [item for item in numbered if item[1][0] != "cross"]

    def normalize(y: Array, i: int) -> Array:
        first, last = i == 0, i == len(sublayers) - 1
        if norms == "none" or (norms == "no first" and first) or (norms == "no last" and last):
            return y
        gamma, beta = w.norms[0 if norms == "first" else i]
        return layer_norm(y, gamma, beta, eps, variance="unbiased" if norms == "unbiased" else "")

    start = x
    for i, (kind, sublayer) in numbered:
        source = start if sequence == "parallel" else x
        without = residual == "none" or residual == f"no {kind}"
        if norms == "after":
            x = x + normalize(sublayer(source), i)
        elif norm == "pre":
            normal = normalize(source, i)
            base = normal if residual == "normalized" else x
            x = sublayer(normal) + (0 if without else base)
        else:
            x = normalize(sublayer(source) + (0 if without else x), i)
    return np.asarray(x)
