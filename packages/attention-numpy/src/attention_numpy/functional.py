"""Functions and their derivatives: softmax, log-softmax, erf, and the scatter that is the transpose of a row lookup."""

from __future__ import annotations

import math

import numpy as np

from attention_numpy.checks import check_float, check_mask
from attention_numpy.module import Array

SAFE_EXPONENT = 60.0  # exp(+-60), and sums of it, are far inside the range of float32


def softmax(x: Array, mask: Array | None = None, out: Array | None = None) -> Array:
    """Return p_i = exp(x_i) / sum_j exp(x_j) over the last axis.   (section 3.2.1, inside Eq. 1)

    Shapes: x, p (..., keys). mask: boolean, broadcast to x, True = may attend; a masked p_i is 0. out=x works in place.
    Cost: one exp per element, three passes over memory.
    Numerics: exp overflows float32 at 88, so the row's maximum is subtracted first, which changes no p_i. Finding
    row maxima is the slowest part, and unnecessary where every x lies in (-60, 60): then the shift is skipped.
    A row whose every element is masked has the sum 0; it yields zeros instead of 0 / 0. float16 is computed in float32.
    Raises: ValueError unless x is a float array and the mask is boolean.
    """
    check_float("x", x, least_axes=1)
    if mask is not None:
        check_mask(mask, x.shape)
    if x.dtype == np.float16:
        half: Array = softmax(x.astype(np.float32), mask).astype(np.float16)
        if out is None:
            return half
        np.copyto(out, half)
        return out
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
        with np.errstate(over="ignore"):  # a difference beyond the dtype becomes -inf, whose exp is 0
            z -= shift
    np.exp(z, out=z)
    # the sum as a matmul with ones: several times faster than z.sum(-1) on short rows
    total = (z.reshape(-1, z.shape[-1]) @ np.ones(z.shape[-1], z.dtype)).reshape(*z.shape[:-1], 1)
    total[total == 0] = 1
    z *= np.reciprocal(total, out=total)
    return z


def softmax_backward(dp: Array, p: Array, out: Array | None = None) -> Array:
    """Return dx = p * (dp - sum_j dp_j p_j): dp times the Jacobian  diag(p) - p p^T, without building it.

    Shapes: dp, p, dx (..., keys). Where p is 0 (masked) dx is 0, in a fully masked row too.
    """
    dx: Array = np.subtract(dp, np.vecdot(dp, p)[..., None], out=out)
    dx *= p
    return dx


def log_softmax(x: Array) -> Array:
    """Return log p_i = x_i - max(x) - log sum_j exp(x_j - max(x)) over the last axis.   Shape: x (..., classes).

    The logarithm of a softmax would be -inf where p underflows; this logarithm is taken of a sum that is at least 1.
    Raises: ValueError unless x is a float array.
    """
    check_float("x", x, least_axes=1)
    if x.dtype == np.float16:
        with np.errstate(over="ignore"):
            return log_softmax(x.astype(np.float32)).astype(np.float16)
    with np.errstate(over="ignore"):
        z: Array = x - x.max(-1, keepdims=True)
    z -= np.log(np.exp(z).sum(-1, keepdims=True))
    return z


def log_softmax_backward(dy: Array, y: Array) -> Array:
    """Return dx = dy - exp(y) * sum_j dy_j, where y is the log-softmax."""
    dx: Array = dy - np.exp(y) * dy.sum(-1, keepdims=True)
    return dx


_STEP, _REACH, _ORDER = 1 / 16, 6.0, 11


def _erf_table() -> Array:
    """Return table[n, k] = the n-th Taylor coefficient of erf at k / 16.

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
    """Return erf(x) = 2 / sqrt(pi) * integral of exp(-t^2) from 0 to x, to about one unit in the last place.

    NumPy has none. A table holds the exact value at every sixteenth; a Taylor polynomial reaches x from the nearest
    one, at most 1/32 away, which makes the remainder after eleven terms less than 1e-17. Beyond 6 the value is 1.
    erf(NaN) is NaN. Raises: ValueError unless x is a float array.
    """
    check_float("x", x)
    if x.dtype == np.float16:
        return erf(x.astype(np.float32)).astype(np.float16)
    if x.ndim == 0:
        return erf(x[None]).reshape(())
    a = np.fmin(np.abs(x), x.dtype.type(_REACH))  # fmin: NaN must not become an index
    nearest = np.rint(a / x.dtype.type(_STEP)).astype(np.intp)
    h = a - nearest.astype(x.dtype) * x.dtype.type(_STEP)
    table = _ERF_TABLE.astype(x.dtype)
    y = table[_ORDER][nearest]
    for n in range(_ORDER - 1, -1, -1):
        y *= h
        y += table[n][nearest]
    np.copyto(y, x, where=np.isnan(x))
    signed: Array = np.copysign(y, x)
    return signed


def erf_backward(dy: Array, x: Array) -> Array:
    """Return dx = dy * 2 / sqrt(pi) * exp(-x^2). Beyond 30 the factor is 0 in every dtype, and x^2 could overflow."""
    bounded = np.minimum(np.abs(x), x.dtype.type(30))
    dx: Array = dy * x.dtype.type(2 / math.sqrt(math.pi)) * np.exp(-bounded * bounded)
    return dx


def scatter_rows(ids: Array, dx: Array, dw: Array) -> None:
    """Add dw[ids[i]] += dx[i]: the backward pass of the lookup  x[i] = w[ids[i]]. A repeated id adds up.

    Shapes: ids (rows,), of any integer dtype; dx (rows, d_model); dw (vocab, d_model), contiguous.
    `dw[ids] += dx` would count a repeated id once. `np.add.at` has a fast path for one dimension only (5 times as
    fast), so the rows are flattened. Positions are computed in intp: `ids * d_model` in 8 or 16 bits would wrap around.
    """
    d_model = dw.shape[1]
    flat = (ids.astype(np.intp)[:, None] * d_model + np.arange(d_model)).reshape(-1)
    np.add.at(dw.reshape(-1), flat, dx.reshape(-1))
