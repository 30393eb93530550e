"""Cross-entropy with label smoothing over the positions that are not padding, section 5.4."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attention_numpy._common.errors import check_fraction
from attention_numpy.checks import check_float, check_ids
from attention_numpy.module import Array


def cross_entropy(
    logits: Array, targets: npt.ArrayLike, *, label_smoothing: float = 0.0, ignore_index: int | None = None
) -> tuple[float, Array]:
    """Return the loss L and its gradient by the logits: softmax, logarithm and mean in one function.   (section 5.4)

        L = mean over counted targets of  - sum_c q_c log p_c
        p = softmax(logits),   q = (1 - eps) onehot(target) + eps / vocab
        dlogits = (p - q) / (number of counted targets),   0 at ignored positions

    Shapes: logits (..., vocab), float16, float32 or float64; targets (...), integer ids of any dtype; dlogits as
    logits.
    label_smoothing: eps, in [0, 1], shared by all classes including the target, as in torch.
    ignore_index: targets equal to it are not counted, and their logits may hold anything, NaN included.
    Numerics: log p = z - log sum exp(z) with z = logits - max(logits), where the sum is at least 1. A target whose
    logit is -inf gives L = inf, and NaN at a counted position gives NaN, as in torch. Without any counted target, L
    and dlogits are 0 (torch: NaN). float16 is computed in float32. Cost: one exp per element.
    Raises: ValueError for shapes that do not match, ids outside the vocabulary, and other dtypes.
    """
    check_float("logits", logits)
    targets = np.asarray(targets)
    if logits.ndim < 1 or logits.shape[-1] < 1 or logits.shape[:-1] != targets.shape:
        raise ValueError(f"`targets` must have the shape {logits.shape[:-1]} of the logits, got {targets.shape}")
    check_fraction("label_smoothing", label_smoothing, one=True)
    if logits.dtype == np.float16:
        loss, wide = cross_entropy(
            logits.astype(np.float32), targets, label_smoothing=label_smoothing, ignore_index=ignore_index
        )
        return loss, wide.astype(np.float16)
    vocab = logits.shape[-1]
    y = targets.reshape(-1)
    counted = np.ones(len(y), bool) if ignore_index is None else y != ignore_index
    count = int(counted.sum())
    if y.size:
        y = np.where(counted, y, 0)
        check_ids("targets", y, vocab)
    if count == 0:
        return 0.0, np.zeros_like(logits)
    with np.errstate(over="ignore", invalid="ignore"):
        return _cross_entropy(logits, y.astype(np.intp), counted, count, label_smoothing)


def _cross_entropy(logits: Array, y: Array, counted: Array, count: int, eps: float) -> tuple[float, Array]:
    dtype, vocab = logits.dtype.type, logits.shape[-1]
    rows = np.arange(len(y))
    weight = counted.astype(logits.dtype) / dtype(count)
    z = logits.reshape(-1, vocab)  # (batch * time, vocab)
    z = z - z.max(1, keepdims=True)
    if count < len(y):
        z[~counted] = 0
    z_target = z[rows, y]
    # z @ (1 / vocab) is the mean over the classes
    mean_z = z_target if eps == 0 else dtype(1 - eps) * z_target + dtype(eps) * (z @ np.full(vocab, 1 / vocab, z.dtype))
    np.exp(z, out=z)
    total = z @ np.ones(vocab, z.dtype)
    loss = float((np.log(total) - mean_z) @ weight)
    z *= (weight / total)[:, None]
    if eps:
        z -= (weight * dtype(eps / vocab))[:, None]
    z[rows, y] -= weight * dtype(1 - eps)
    return loss, z.reshape(logits.shape)
