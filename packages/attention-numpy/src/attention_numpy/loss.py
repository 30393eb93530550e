"""Cross-entropy with label smoothing over the positions that are no padding, section 5.4."""

from __future__ import annotations

import numpy as np

from attention_numpy.layer import Array
from attention_numpy.layers import check_ids


def cross_entropy(
    logits: Array, targets: Array, *, label_smoothing: float = 0.0, ignore_index: int | None = None
) -> tuple[float, Array]:
    """L = mean over real targets of  - sum_c q_c log p_c,   q = (1 - eps) onehot(target) + eps / V.

    logits: (..., V); targets: (...), ids; a target equal to `ignore_index` counts nowhere, in the mean neither.
    p = softmax(logits). This is torch's smoothing: eps is shared by all V classes, the target among them.
    Returns L and its gradient, of the shape of logits:
        dlogits = (p - q) / (number of real targets),   0 at ignored positions
    so softmax and logarithm are never taken apart: log p = z - log sum exp(z), with z = logits - max(logits).
    Cost: one exp an element. Numerics: the sum of exponentials is at least 1, so the logarithm is finite for logits of
    any size. With no real target at all, L and dlogits are 0.
    """
    if getattr(logits, "dtype", None) not in (np.float32, np.float64) or logits.ndim < 1:
        raise ValueError("logits: an array (..., V) of float32 or float64 is needed")
    if logits.shape[:-1] != np.shape(targets):
        raise ValueError(f"targets: shape {np.shape(targets)} met, {logits.shape[:-1]} fits the logits")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing: {label_smoothing} met, a number from 0 to below 1 is needed")
    vocab = logits.shape[-1]
    y = targets.reshape(-1)
    real = np.ones(len(y), bool) if ignore_index is None else y != ignore_index
    y = np.where(real, y, 0)
    check_ids("targets", y, vocab)
    count = int(real.sum())
    if count == 0:
        return 0.0, np.zeros_like(logits)

    dtype = logits.dtype.type
    rows, eps = np.arange(len(y)), label_smoothing
    weight = real.astype(logits.dtype) / dtype(count)
    z = logits.reshape(-1, vocab)
    top = z.max(1, keepdims=True)
    if not np.isfinite(top).all():
        raise ValueError("logits: they hold NaN or infinity")
    z = z - top
    z_target = z[rows, y]
    wanted = z_target if eps == 0 else dtype(1 - eps) * z_target + dtype(eps) * (z @ np.full(vocab, 1 / vocab, z.dtype))
    np.exp(z, out=z)
    total = z @ np.ones(vocab, z.dtype)
    losses = np.log(total) - wanted
    loss = float(losses @ weight)
    if not np.isfinite(loss):
        raise ValueError(f"logits: a target has the probability 0 (the loss would be {loss})")

    z *= (weight / total)[:, None]
    if eps:
        z -= (weight * dtype(eps / vocab))[:, None]
    z[rows, y] -= weight * dtype(1 - eps)
    return loss, z.reshape(logits.shape)
