"""The layers that are not attention: linear maps, embeddings, positions, LayerNorm, dropout, feed-forward.

Letters: batch, n (sequence length), d_model, d_ff, V (vocabulary).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from attention_numpy.functional import scatter_rows
from attention_numpy.layer import Array, DType, Layer, Parameter, check_gradient, check_input

Rng = np.random.Generator


def new_rng(seed: int) -> Rng:
    """The generator used throughout: SFC64, NumPy's fastest."""
    return np.random.Generator(np.random.SFC64(seed))


def xavier(rng: Rng, d_out: int, d_in: int, dtype: DType) -> Array:
    """Uniform in +-sqrt(6 / (d_in + d_out)): activations and gradients keep their scale (Glorot & Bengio 2010)."""
    bound = math.sqrt(6 / (d_in + d_out))
    return rng.uniform(-bound, bound, (d_out, d_in)).astype(dtype)


def affine(x: Array, weight: Array, bias: Array) -> Array:
    """x W^T + b as one 2-D product over all positions: x (..., d_in), weight (d_out, d_in) -> (..., d_out).

    NumPy would walk a 3-D x batch by batch, with one small product each.
    """
    y = x.reshape(-1, x.shape[-1]) @ weight.T
    y += bias
    return y.reshape(*x.shape[:-1], len(weight))


def affine_backward(dy: Array, x: Array, weight: Array, dweight: Array, dbias: Array) -> Array:
    """dW += dy^T x,  db += sum(dy),  dx = dy W;   rows of x and dy are all positions of all sequences."""
    rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    dweight += rows.T @ x_rows
    dbias += np.ones(len(rows), dy.dtype) @ rows  # as a product: several times faster than sum(0)
    return (rows @ weight).reshape(x.shape)


class Linear(Layer):
    """y = x W^T + b   — the projections of section 3.2.2, the two of Eq. (2), the pre-softmax map of section 3.4.

    x: (..., d_in); y: (..., d_out); weight: (d_out, d_in) as torch stores it; bias: (d_out,).
    Backward, with x and dy as matrices of N rows:
        dx = dy W,   dW = dy^T x,   db = sum over rows of dy
    Kept for backward: x. Cost: 2 N d_in d_out flops forward, twice that backward.
    Numerics: Xavier's bounds keep the variance of y near that of x, so depth neither explodes nor fades.
    """

    def __init__(self, d_in: int, d_out: int, *, rng: Rng | None = None, dtype: DType = np.float32) -> None:
        super().__init__()
        self.weight = Parameter(xavier(rng or new_rng(0), d_out, d_in, dtype))
        self.bias = Parameter(np.zeros(d_out, dtype))

    def forward(self, x: Array) -> Array:
        """(..., d_in) -> (..., d_out)."""
        check_input("x", x, self.weight.data.dtype, self.weight.data.shape[1])
        self.keep(x)
        return affine(x, self.weight.data, self.bias.data)

    def backward(self, dy: Array) -> Array:
        """(..., d_out) -> (..., d_in)."""
        (x,) = self.kept()
        check_gradient(dy, (*x.shape[:-1], len(self.bias.data)), x.dtype)
        return affine_backward(dy, x, self.weight.data, self.weight.grad, self.bias.grad)


class Embedding(Layer):
    """x = sqrt(d_model) * W[ids]   — section 3.4.

    ids: (batch, n), integers below V; x: (batch, n, d_model); weight: (V, d_model).
    Backward:  dW[ids_i] += sqrt(d_model) * dx_i   (an id that occurs twice adds up; ids have no gradient)
    Kept for backward: ids. Cost: one row copied, or added, a position.
    Numerics: rows start with deviation d_model^-0.5, so that x starts with deviation 1, beside positions in [-1, 1],
    and as a tied output matrix gives logits of deviation 1. The factor has the parameters' dtype:
    `x * np.sqrt(d_model)` makes float64 of a float32 x.
    """

    def __init__(self, vocab: int, d_model: int, *, rng: Rng | None = None, dtype: DType = np.float32) -> None:
        super().__init__()
        weight = (rng or new_rng(0)).normal(0, d_model**-0.5, (vocab, d_model))
        self.weight = Parameter(weight.astype(dtype))

    def forward(self, ids: Array) -> Array:
        """(batch, n) -> (batch, n, d_model)."""
        check_ids("ids", ids, len(self.weight.data))
        self.keep(ids)
        x = self.weight.data[ids]
        x *= x.dtype.type(math.sqrt(x.shape[-1]))
        return x

    def backward(self, dx: Array) -> None:
        """(batch, n, d_model) -> nothing: ids are no numbers to be moved."""
        (ids,) = self.kept()
        d_model = self.weight.data.shape[1]
        check_gradient(dx, (*ids.shape, d_model), self.weight.data.dtype)
        scaled = dx.reshape(-1, d_model) * dx.dtype.type(math.sqrt(d_model))
        scatter_rows(ids.reshape(-1), scaled, self.weight.grad)


def check_ids(name: str, ids: Any, vocab: int) -> None:
    """ValueError unless ids are integers from 0 to vocab - 1."""
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
        met = getattr(ids, "dtype", type(ids).__name__)
        raise ValueError(f"{name}: {met} met, an array of integer ids is needed")
    if ids.size and (ids.min() < 0 or ids.max() >= vocab):
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise ValueError(f"{name}: id {wrong} met, the vocabulary has ids 0 to {vocab - 1}")


class LayerNorm(Layer):
    """y = gamma * x_hat + beta,  x_hat = (x - mean(x)) / std,  std = sqrt(var(x) + eps)   — 1607.06450, Eq. (3).

    x, y: (..., d_model); mean and var over d_model; var is the biased one, divided by d_model, not d_model - 1.
    weight is gamma, bias is beta: (d_model,).
    Backward, with g = dy * gamma and means over d_model:
        dx     = (g - mean(g) - x_hat * mean(g * x_hat)) / std
        dgamma = sum(dy * x_hat),   dbeta = sum(dy)          (sums over all positions)
    gamma stands inside both means. Kept for backward: x_hat and 1 / std. Cost: some ten passes over x.
    Numerics: the mean is subtracted before squaring; mean(x^2) - mean(x)^2 would cancel. eps keeps a constant row
    finite: its x_hat is zero.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5, dtype: DType = np.float32) -> None:
        super().__init__()
        self.weight = Parameter(np.ones(d_model, dtype))
        self.bias = Parameter(np.zeros(d_model, dtype))
        self.eps = eps

    def forward(self, x: Array) -> Array:
        """(..., d_model) -> (..., d_model)."""
        gamma = self.weight.data
        check_input("x", x, gamma.dtype, len(gamma))
        rows = x.reshape(-1, len(gamma))
        x_hat: Array = rows - (rows @ np.full(len(gamma), 1 / len(gamma), x.dtype))[:, None]
        inverse_std = np.vecdot(x_hat, x_hat)  # sums of squares
        inverse_std /= len(gamma)
        inverse_std += x.dtype.type(self.eps)
        np.reciprocal(np.sqrt(inverse_std, out=inverse_std), out=inverse_std)
        x_hat *= inverse_std[:, None]
        self.keep(x_hat, inverse_std)
        y: Array = x_hat * gamma
        y += self.bias.data
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        """(..., d_model) -> (..., d_model)."""
        x_hat, inverse_std = self.kept()
        gamma = self.weight.data
        check_gradient(dy, (*dy.shape[:-1], len(gamma)), x_hat.dtype)
        rows = dy.reshape(x_hat.shape)
        product = rows * x_hat
        ones, gamma_mean = np.ones(len(rows), dy.dtype), gamma / len(gamma)
        self.weight.grad += ones @ product
        self.bias.grad += ones @ rows
        mean_g, mean_gx = rows @ gamma_mean, product @ gamma_mean
        dx = rows * gamma
        dx -= mean_g[:, None]
        dx -= np.multiply(x_hat, mean_gx[:, None], out=product)
        dx *= inverse_std[:, None]
        return dx.reshape(dy.shape)


class Dropout(Layer):
    """y = x * keep / (1 - p),  keep ~ Bernoulli(1 - p)   — section 5.4; 1207.0580. In evaluation mode y = x.

    x, y: any shape. Backward: dx = dy * keep / (1 - p), with the mask of the very call that is undone.
    Kept for backward: keep, one byte an element. Cost: 16 random bits, a comparison, two multiplications an element.
    Numerics: keep compares 16 random bits with round(65536 p), so p is met to 8e-6; drawing them as 64-bit words
    and looking at them as four numbers is what makes dropout cheap (binomial: 5 times the cost).
    """

    def __init__(self, p: float, *, rng: Rng | None = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout: {p} met, a probability from 0 to below 1 is needed")
        self.p, self.rng = p, rng or new_rng(0)

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """Any shape to the same; `out=x` changes x in place."""
        if not self.training or self.p == 0:
            self.keep(None)
            return x
        words = self.rng.integers(0, 2**64 - 1, -(-x.size // 4), np.uint64, endpoint=True)
        keep = words.view(np.uint16)[: x.size].reshape(x.shape) >= np.uint16(round(65536 * self.p))
        self.keep(keep)
        return self._apply(x, keep, out)

    def backward(self, dy: Array, out: Array | None = None) -> Array:
        """Any shape to the same; `out=dy` changes dy in place."""
        (keep,) = self.kept()
        return dy if keep is None else self._apply(dy, keep, out)

    def _apply(self, x: Array, keep: Array, out: Array | None) -> Array:
        y: Array = np.multiply(x, keep, out=out)
        y *= x.dtype.type(1 / (1 - self.p))
        return y


def sinusoid(n: int, d_model: int, start: int = 0) -> Array:
    """PE(pos, 2i) = sin(pos / 10000^(2i / d_model)),  PE(pos, 2i + 1) = cos(the same)   — section 3.5.

    (n, d_model) in float64, for positions from `start` on.
    """
    position = np.arange(start, start + n)[:, None]
    angle = position * 10000.0 ** (-np.arange(0, d_model, 2) / d_model)
    table = np.empty((n, d_model))
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : d_model // 2])
    return table


class PositionalEncoding(Layer):
    """y = Dropout(x + PE)   — sections 3.5 and 5.4.

    x, y: (batch, n, d_model); PE: (n, d_model), the sinusoids, which have no parameters.
    Backward: dx = Dropout's backward of dy; PE is constant.
    Kept for backward: dropout's mask. The table is computed in float64, cast once, and grows when a longer sequence
    comes. Numerics: in float32, sin of a position of 10^4 would be wrong in the fourth digit.
    """

    def __init__(self, d_model: int, dropout: float = 0.0, *, rng: Rng | None = None) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, rng=rng)
        self._table: Array = np.empty((0, d_model))

    def forward(self, x: Array, start: int = 0) -> Array:
        """(batch, n, d_model) -> the same, its first row being position `start`."""
        stop = start + x.shape[1]
        if stop > len(self._table) or self._table.dtype != x.dtype:
            self._table = sinusoid(max(stop, 2 * len(self._table)), x.shape[-1]).astype(x.dtype)
        y = x + self._table[start:stop]
        return self.dropout.forward(y, out=y)

    def backward(self, dy: Array) -> Array:
        """(batch, n, d_model) -> the same."""
        return self.dropout.backward(dy)


class ReLU(Layer):
    """y = max(0, x). Backward: dx = dy where x > 0, else 0. Kept: where, one byte an element. At 0 the slope is 0."""

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """Any shape to the same; `out=x` changes x in place."""
        y: Array = np.maximum(x, x.dtype.type(0), out=out)
        if self.training:
            self.keep(y > 0)
        return y

    def backward(self, dy: Array, out: Array | None = None) -> Array:
        """Any shape to the same; `out=dy` changes dy in place."""
        (active,) = self.kept()
        dx: Array = np.multiply(dy, active, out=out)
        return dx


class PositionwiseFeedForward(Layer):
    """FFN(x) = max(0, x W_1 + b_1) W_2 + b_2   — Eq. (2), section 3.3; the same map at every position.

    x, y: (batch, n, d_model); inside: (batch, n, d_ff). Dropout after the ReLU, as in the authors' and torch's code.
    Backward: the layers' own, in reverse:  dh = (dy W_2^T) * keep / (1 - p) * [h > 0],   dx = dh W_1^T
    Kept for backward: x, the dropped h, one byte each of mask. Cost: 4 n d_model d_ff flops forward.
    Numerics: none of its own; the slope of the ReLU at 0 is taken as 0.
    """

    inline: ClassVar[bool] = True

    def __init__(
        self, d_model: int, d_ff: int, dropout: float = 0.0, *, rng: Rng | None = None, dtype: DType = np.float32
    ) -> None:
        super().__init__()
        rng = rng or new_rng(0)
        self.linear1 = Linear(d_model, d_ff, rng=rng, dtype=dtype)
        self.relu = ReLU()
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(d_ff, d_model, rng=rng, dtype=dtype)

    def forward(self, x: Array) -> Array:
        """(batch, n, d_model) -> the same."""
        h = self.linear1.forward(x)
        self.relu.forward(h, out=h)
        return self.linear2.forward(self.dropout.forward(h, out=h))

    def backward(self, dy: Array) -> Array:
        """(batch, n, d_model) -> the same."""
        dh = self.linear2.backward(dy)
        self.dropout.backward(dh, out=dh)
        return self.linear1.backward(self.relu.backward(dh, out=dh))
