"""Scaled dot-product attention, 1706.03762, Eq. (1): the reference, its backward pass, and their common mistakes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlpapers_shared.check.backend import Array
from dlpapers_shared.check.engine import mistakes

FORMULA = "softmax(QKᵀ/√d_k)V"
MISTAKES = mistakes(
    scale={
        "none": "attention without the 1/√d_k (no scaling by 1 / sqrt(d_k))",
        "d_k": "scaling by d_k instead of √d_k",
        "times": "multiplied by √d_k instead of divided by it",
        "queries": "scaling by the number of queries instead of the width d_k",
        "keys": "scaling by the number of keys instead of the width d_k",
        "after": "scaling by 1/√d_k after the softmax instead of before it",
    },
    over={
        "queries": "softmax over the wrong axis (over queries instead of keys)",
        "none": "no softmax: the scores themselves are the weights",
        "all": "softmax over queries and keys together",
        "batch": "softmax over the wrong axis (over the batch)",
        "twice": "softmax applied twice",
        "overflow": "no maximum subtracted before exp, so large scores overflow",
    },
    masking={
        "ignored": "the mask is ignored",
        "inverted": "inverted mask: True must mean that a query may attend to the key",
        "inverted NaN": "inverted mask: True must mean that a query may attend to the key (an empty row is NaN)",
        "inverted even": "inverted mask: True must mean that a query may attend to the key (an empty row is uniform)",
        "future": "mask shifted by one: each query also attends to the next token",
        "past": "mask shifted by one: a query does not attend to its own token",
        "past NaN": "mask shifted by one: a query does not attend to its own token, and the first row is NaN",
        "past even": "mask shifted by one: a query does not attend to its own token, and the first row is uniform",
        "added": "the Boolean mask is added to the scores (True counts as 1)",
        "zero": "masked scores are set to 0 instead of -inf, so masked keys keep a weight",
        "after": "the mask is applied after the softmax, so rows of the weights do not sum to 1",
        "transposed": "the mask is transposed (keys and queries confused)",
    },
    values={"k": "the keys are used as values", "q": "the queries are used as values"},
)


def softmax(x: Array, axis: int | tuple[int, ...] = -1, keep: Array | None = None) -> Array:
    """Softmax over an axis, of real or complex numbers; elements that `keep` excludes and empty rows give zeros.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    keep = np.ones(x.shape, bool) if keep is None else np.broadcast_to(keep, x.shape)
    largest = np.where(keep, x.real, -np.inf).max(axis=axis, keepdims=True)
    e = np.where(keep, np.exp(np.where(keep, x - np.where(np.isfinite(largest), largest, 0), 0)), 0)
    total = e.sum(axis=axis, keepdims=True)
    return np.asarray(e / np.where(total == 0, 1, total))


def reference(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    *,
    scale: str = "",
    over: str = "",
    masking: str = "",
    values: str = "",
    weights: bool = False,
) -> Array:
    """Return softmax(QKᵀ/√d_k)V, or with switches what a common mistake computes.

    q (…, queries, d_k), k (…, keys, d_k), v (…, keys, d_v), mask Boolean, True = may attend -> (…, queries, d_v);
    the weights (…, queries, keys) if `weights`. A query that may attend to nothing gives zeros.
    """
    d_k, scores = q.shape[-1], q @ k.swapaxes(-1, -2)
    sizes = {"": math.sqrt(d_k), "none": 1, "after": 1, "d_k": d_k, "times": 1 / math.sqrt(d_k)}
    sizes |= {"queries": math.sqrt(q.shape[-2]), "keys": math.sqrt(k.shape[-2])}
    scores = scores / sizes[scale]
    keep = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
    keep, scores, after = _masked(keep, scores, masking, mask is not None)
    if over == "none":
        p = np.where(keep, scores, 0)
    elif over == "overflow":
        e = np.where(keep, np.exp(scores), 0)
        p = e / e.sum(-1, keepdims=True)
    else:
        axes: dict[str, Any] = {"": -1, "twice": -1, "queries": -2, "all": (-2, -1), "batch": 0}
        p = softmax(scores, axes[over], keep)
        p = softmax(p) if over == "twice" else p
    empty = ~keep.any(-1, keepdims=True)
    if masking.endswith(" NaN"):
        p = np.where(empty, np.nan, p)
    elif masking.endswith(" even"):
        p = np.where(empty, 1 / p.shape[-1], p)
    p = p * after
    p = p / math.sqrt(d_k) if scale == "after" else p
    if weights:
        return np.asarray(p)
    return np.asarray(p @ {"": v, "k": k, "q": q}[values])


def _masked(keep: Array, scores: Array, masking: str, given: bool) -> tuple[Array, Array, Any]:
    """The mask, the scores, and what the weights are multiplied by, for each mistake with masks."""
    everything = np.ones_like(keep)
    if masking in ("", "ignored") or not given:
        return (everything if masking == "ignored" else keep), scores, 1
    if masking.startswith("inverted"):
        return ~keep, scores, 1
    if masking.startswith(("future", "past")):
        shifted = np.zeros_like(keep)
        if masking == "future":  # query i gets the row of query i + 1
            shifted[..., :-1, :], shifted[..., -1, :] = keep[..., 1:, :], True
        else:
            shifted[..., 1:, :] = keep[..., :-1, :]
        return shifted, scores, 1
    if masking == "added":
        return everything, scores + keep, 1
    if masking == "zero":
        return everything, np.where(keep, scores, 0), 1
    if masking == "after":
        return everything, scores, keep
    return np.broadcast_to(keep.swapaxes(-1, -2), keep.shape), scores, 1


def backward(
    dout: Array, q: Array, k: Array, v: Array, mask: Array | None = None, *, mistake: str = ""
) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv of attention, or with `mistake` what a common mistake in the backward pass computes."""
    p = reference(q, k, v, mask, weights=True)
    dp = dout @ v.swapaxes(-1, -2)
    ds = p * (dp - (dp * p if mistake == "diagonal" else (dp * p).sum(-1, keepdims=True)))
    ds = p * dp if mistake == "no sum" else ds
    ds = dp if mistake == "no softmax" else ds
    ds = ds if mistake == "scale" else ds / math.sqrt(q.shape[-1])
    dv = p @ dout if mistake == "dv" and p.shape[-1] == p.shape[-2] else p.swapaxes(-1, -2) @ dout
    return ds @ k, ds.swapaxes(-1, -2) @ q, dv


BACKWARD_MISTAKES = mistakes(
    mistake={
        "scale": "scale forgotten on the way back (no 1/√d_k in dQ and dK)",
        "diagonal": "only the diagonal of the softmax Jacobian",
        "no sum": "the sum of dP * P is not subtracted in the gradient of the softmax",
        "no softmax": "the gradient of the softmax is left out",
        "dv": "dV from the weights without transposing them",
    }
)
