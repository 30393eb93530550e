"""Functions and their derivatives: softmax, log-softmax, erf, and the scatter that undoes a row lookup."""

from __future__ import annotations

import math

import numpy as np

from attention_numpy.layer import Array

SAFE_EXPONENT = 60.0  # exp(+-60) and sums of it are far inside float32


def softmax(x: Array, mask: Array | None = None, out: Array | None = None) -> Array:
    """p_i = exp(x_i) / sum_j exp(x_j)   — section 3.2.1, inside Eq. (1).

    x, p: (..., n), over the last axis. mask: boolean, broadcast to x, True = may attend; a masked p_i is 0.
    Cost: one exp an element, three passes over memory.
    Numerics: exp overflows float32 at 88, so the row's maximum is subtracted first, which changes no p_i. Finding
    row maxima is the slowest part, and needless where every x lies in (-60, 60): then the shift is skipped.
    A row whose every element is masked has the sum 0; it yields zeros, not 0 / 0.
    """
    z: Array = np.array(x, copy=True) if out is None else out
    if out is not None and out is not x:
        np.copyto(out, x)
    if z.size == 0:
        return z
    safe = bool(z.min() > -SAFE_EXPONENT and z.max() < SAFE_EXPONENT)
    if mask is not None:
        z += np.where(mask, z.dtype.type(0), z.dtype.type(-np.inf))
    if not safe:
        shift = z.max(-1, keepdims=True)
        shift[np.isneginf(shift)] = 0  # a row with nothing to attend to: -inf - (-inf) would be NaN
        z -= shift
    np.exp(z, out=z)
    total = (z.reshape(-1, z.shape[-1]) @ np.ones(z.shape[-1], z.dtype)).reshape(*z.shape[:-1], 1)
    total[total == 0] = 1
    z *= np.reciprocal(total, out=total)
    return z


def softmax_backward(dp: Array, p: Array, out: Array | None = None) -> Array:
    """dx = p * (dp - sum_j dp_j p_j),   the product of dp with the Jacobian  diag(p) - p p^T.

    dp, p, dx: (..., n). Where p is 0 (masked) dx is 0, in a wholly masked row too.
    """
    dx: Array = np.subtract(dp, np.vecdot(dp, p)[..., None], out=out)
    dx *= p
    return dx


def log_softmax(x: Array) -> Array:
    """log p_i = x_i - max(x) - log sum_j exp(x_j - max(x));   x: (..., n), over the last axis.

    The log of a softmax would be -inf where p underflows; here the logarithm sees a sum that is at least 1.
    """
    z: Array = x - x.max(-1, keepdims=True)
    z -= np.log(np.exp(z).sum(-1, keepdims=True))
    return z


def log_softmax_backward(dy: Array, y: Array) -> Array:
    """dx = dy - exp(y) * sum_j dy_j,   y being the log-softmax."""
    dx: Array = dy - np.exp(y) * dy.sum(-1, keepdims=True)
    return dx


_STEP, _REACH, _ORDER = 1 / 16, 6.0, 11


def _erf_table() -> Array:
    """table[n, k] = the n-th Taylor coefficient of erf at k / 16.

    The (n + 1)-th derivative is 2 / sqrt(pi) * (-1)^n H_n(c) exp(-c^2), with Hermite's H_(n+1) = 2 c H_n - 2 n H_(n-1).
    """
    c = np.arange(round(_REACH / _STEP) + 1) * _STEP
    table = np.empty((_ORDER + 1, len(c)))
    table[0] = [math.erf(v) for v in c]
    before, hermite = np.zeros_like(c), np.ones_like(c)
    for n in range(_ORDER):
        table[n + 1] = 2 / math.sqrt(math.pi) * (-1) ** n * hermite * np.exp(-c * c) / math.factorial(n + 1)
        before, hermite = hermite, 2 * c * hermite - 2 * n * before
    return table


_ERF_TABLE = _erf_table()


def erf(x: Array) -> Array:
    """erf(x) = 2 / sqrt(pi) * integral of exp(-t^2) from 0 to x, to the last digit but one, in x's dtype.

    NumPy has none. Exact values stand at every sixteenth; a Taylor polynomial leads from the nearest one to x, a
    distance of at most 1/32, which makes the remainder after eleven terms less than 1e-17. Beyond 6 it is 1.
    """
    a = np.minimum(np.abs(x), x.dtype.type(_REACH))
    nearest = np.rint(a / x.dtype.type(_STEP)).astype(np.intp)
    h = a - nearest.astype(x.dtype) * x.dtype.type(_STEP)
    table = _ERF_TABLE.astype(x.dtype)
    y = table[_ORDER][nearest]
    for n in range(_ORDER - 1, -1, -1):
        y *= h
        y += table[n][nearest]
    signed: Array = np.copysign(y, x)
    return signed


def erf_backward(dy: Array, x: Array) -> Array:
    """dx = dy * 2 / sqrt(pi) * exp(-x^2). Past 30 the factor is 0 in every dtype: squaring on would overflow."""
    bounded = np.minimum(np.abs(x), x.dtype.type(30))
    dx: Array = dy * x.dtype.type(2 / math.sqrt(math.pi)) * np.exp(-bounded * bounded)
    return dx


def scatter_rows(ids: Array, dx: Array, dw: Array) -> None:
    """dw[ids[i]] += dx[i],   the backward pass of the lookup  x[i] = w[ids[i]];   a repeated id adds up.

    ids: (n,); dx: (n, d); dw: (rows, d), contiguous. `dw[ids] += dx` would count a repeated id once. `np.add.at` has
    a fast path for one dimension only (5 times as fast), so the rows are flattened.
    """
    d = dw.shape[1]
    flat = (ids[:, None] * d + np.arange(d)).reshape(-1)
    np.add.at(dw.reshape(-1), flat, dx.reshape(-1))
