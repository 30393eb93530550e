"""Multi-head attention, LayerNorm, and decoder blocks: references with switches for common mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlpapers_shared.check.backend import Array
from dlpapers_shared.check.engine import mistakes
from dlpapers_shared.check.reference.attention import MISTAKES as ATTENTION_MISTAKES
from dlpapers_shared.check.reference.attention import reference as attention

MULTI_HEAD_MISTAKES = [
    *(m for m in ATTENTION_MISTAKES if set(m.switches) <= {"over", "masking"}),
    *mistakes(
        scale={
            "none": "attention without the 1/√d_k (no scaling by 1 / sqrt(d_k))",
            "d_k": "scaling by d_k instead of √d_k",
            "d_model": "scaling by d_model instead of d_k",
            "times": "multiplied by √d_k instead of divided by it",
            "after": "scaling by 1/√d_k after the softmax instead of before it",
        },
        split={
            "reshape": "heads split by reshape alone, without transposing",
            "stride": "heads split along the wrong axis (d_k before heads)",
            "one": "one head of width d_model instead of n_heads heads",
        },
        merge={
            "reshape": "heads concatenated across tokens (no transpose before the reshape)",
            "stride": "heads interleaved instead of concatenated",
        },
        output={"none": "no output projection W_O", "no bias": "the bias of the output projection is left out"},
        projections={
            "swapped": "keys and values swapped",
            "qk": "the queries are projected with W_K and the keys with W_Q",
            "v": "the values are projected with W_K",
            "raw values": "the values are not projected",
        },
    ),
]


def multi_head(
    x: Array,
    w: Mapping[str, Array],
    n_heads: int,
    mask: Array | None = None,
    memory: Array | None = None,
    *,
    scale: str = "",
    split: str = "",
    merge: str = "",
    output: str = "",
    projections: str = "",
    **switches: Any,
) -> Array:
    """Return Concat(head_1, …, head_h) W_O, head_i = attention(x W_Q, memory W_K, memory W_V) (1706.03762, 3.2.2).

    x (batch, queries, d_model), memory (batch, keys, d_model) or None for x, w: wq, wk, wv, wo (in, out) and biases.
    """
    memory = x if memory is None else memory
    used = {"q": "q", "k": "k", "v": "v"}
    used |= {"swapped": {"k": "v", "v": "k"}, "qk": {"q": "k", "k": "q"}, "v": {"v": "k"}}.get(projections, {})

    def project(value: Array, role: str) -> Array:
        return value @ w["w" + used[role]] + w.get("b" + used[role], 0)

    def heads(value: Array) -> Array:
        batch, time, _ = value.shape
        if split == "reshape":
            return value.reshape(batch, n_heads, time, -1)
        if split == "stride":
            return value.reshape(batch, time, -1, n_heads).transpose(0, 3, 1, 2)
        return value.reshape(batch, time, 1 if split == "one" else n_heads, -1).transpose(0, 2, 1, 3)

    values = memory if projections == "raw values" else project(memory, "v")
    q, k, v = heads(project(x, "q")), heads(project(memory, "k")), heads(values)
    if scale == "d_model":
        q, scale = q * math.sqrt(q.shape[-1] / x.shape[-1]), ""
    out = attention(q, k, v, mask, scale=scale, **switches)
    batch, _, time, _ = out.shape
    if merge == "reshape":
        joined = out.reshape(batch, time, -1)
    else:
        joined = out.transpose(*((0, 2, 3, 1) if merge == "stride" else (0, 2, 1, 3))).reshape(batch, time, -1)
    if output == "none":
        return joined
    return np.asarray(joined @ w["wo"] + (0 if output == "no bias" else w.get("bo", 0)))


LAYER_NORM_MISTAKES = mistakes(
    variance={
        "unbiased": "unbiased variance (Bessel's correction: divided by d_model - 1 instead of d_model)",
        "not centered": "no mean subtracted: this is RMSNorm, not LayerNorm",
        "second moment": "divided by the root mean square instead of the standard deviation",
        "no root": "divided by the variance instead of the standard deviation",
        "none": "not divided by the standard deviation",
    },
    eps_={
        "none": "no eps in LayerNorm",
        "outside": "eps added to the standard deviation instead of the variance",
        "1e-5": "eps is 1e-5, whatever is asked for",
        "1e-6": "eps is 1e-6, whatever is asked for",
        "1e-8": "eps is 1e-8, whatever is asked for",
        "1e-12": "eps is 1e-12, whatever is asked for",
    },
    over={
        "batch": "statistics over the wrong axis (over the batch, as in BatchNorm)",
        "time": "statistics over the wrong axis (over the positions)",
        "all": "statistics over positions and d_model together",
        "everything": "statistics over all elements",
    },
    affine={
        "no gamma": "gamma is left out",
        "no beta": "beta is left out",
        "none": "gamma and beta are left out",
        "swapped": "gamma and beta are swapped",
        "plus one": "scaled by 1 + gamma instead of gamma",
        "before": "beta is added before the multiplication by gamma",
    },
)


def layer_norm(
    x: Array,
    gamma: Array,
    beta: Array,
    eps: float,
    *,
    variance: str = "",
    eps_: str = "",
    over: str = "",
    affine: str = "",
) -> Array:
    """Return gamma * (x - mean) / sqrt(var + eps) + beta over the last axis (1607.06450, Eq. 3; biased variance)."""
    axes: dict[str, Any] = {"": -1, "batch": 0, "time": -2, "all": (-2, -1), "everything": None}
    axis = axes[over]
    mean = x.mean(axis, keepdims=True)
    centered = x if variance == "not centered" else x - mean
    count = x.shape[-1] - 1 if variance == "unbiased" else None
    squares = x**2 if variance in ("not centered", "second moment") else centered**2
    var = squares.sum(-1, keepdims=True) / count if count else squares.mean(axis, keepdims=True)
    small = {"": eps, "none": 0.0, "outside": 0.0}.get(eps_)
    small = float(eps_) if small is None else small
    divisor = np.sqrt(var + small) + (eps if eps_ == "outside" else 0)
    x_hat = centered / {"no root": var + small, "none": 1.0}.get(variance, divisor)
    if affine == "swapped":
        gamma, beta = beta, gamma
    if affine == "before":
        return np.asarray(gamma * (x_hat + beta))
    gamma = {"no gamma": np.ones_like(gamma), "none": np.ones_like(gamma), "plus one": 1 + gamma}.get(affine, gamma)
    return np.asarray(gamma * x_hat + (0 if affine in ("no beta", "none") else beta))


LAYER_NORM_BACKWARD = mistakes(
    mistake={
        "gamma": "gamma outside the sums of LayerNorm's gradient",
        "mean": "mean's path forgotten in LayerNorm's gradient",
        "variance": "the path through the variance forgotten in LayerNorm's gradient",
        "both": "mean and variance treated as constants in LayerNorm's gradient",
        "dgamma": "dgamma without x_hat",
        "averaged": "dgamma and dbeta averaged over the rows instead of summed",
    }
)


def layer_norm_backward(
    dy: Array, x: Array, gamma: Array, beta: Array, eps: float, *, mistake: str = ""
) -> tuple[Array, Array, Array]:
    """Return dx, dgamma, dbeta of LayerNorm, or with `mistake` what a common mistake computes."""
    std = np.sqrt(x.var(-1, keepdims=True) + eps)
    x_hat = (x - x.mean(-1, keepdims=True)) / std
    g = dy if mistake == "gamma" else dy * gamma
    means = 0 if mistake in ("mean", "both") else g.mean(-1, keepdims=True)
    paths = 0 if mistake in ("variance", "both") else x_hat * (g * x_hat).mean(-1, keepdims=True)
    dx = (g - means - paths) / std
    dx = dx * gamma if mistake == "gamma" else dx
    rows, normal = dy.reshape(-1, dy.shape[-1]), x_hat.reshape(-1, dy.shape[-1])
    if mistake == "averaged":
        return dx, (rows * normal).mean(0), rows.mean(0)
    return dx, (rows if mistake == "dgamma" else rows * normal).sum(0), rows.sum(0)


def erf(z: Array) -> Array:
    """The error function of real numbers, with its derivative for the complex-step derivative."""
    real = np.vectorize(math.erf, otypes=[float])(z.real)
    return np.asarray(
        real + 1j * z.imag * 2 / math.sqrt(math.pi) * np.exp(-(z.real**2)) if np.iscomplexobj(z) else real
    )


def activation(x: Array, name: str) -> Array:
    """ReLU, GELU (exact or with tanh) or SiLU."""
    if name == "relu":
        return x * (x.real > 0)
    if name == "gelu":
        return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))))
    if name == "gelu_tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(x / (1 + np.exp(-x)))
