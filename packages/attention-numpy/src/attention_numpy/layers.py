"""Layers other than attention: linear maps, embeddings, positional encoding, LayerNorm, dropout, feed-forward.

Axes: batch, time (sequence length), d_model, d_ff, vocab.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from attention_numpy._common.errors import check_fraction, check_integer, check_not_negative
from attention_numpy.checks import check_gradient, check_ids, check_input
from attention_numpy.functional import scatter_rows
from attention_numpy.module import Array, DType, Module, Parameter

Rng = np.random.Generator


def new_rng(seed: int) -> Rng:
    """Return the random generator used throughout: SFC64, NumPy's fastest."""
    return np.random.Generator(np.random.SFC64(seed))


def xavier(rng: Rng, d_out: int, d_in: int, dtype: DType) -> Array:
    """Sample uniformly in +-sqrt(6 / (d_in + d_out)), which keeps activations and gradients in scale (Glorot 2010)."""
    bound = math.sqrt(6 / (d_in + d_out))
    return rng.uniform(-bound, bound, (d_out, d_in)).astype(dtype)


def affine(x: Array, weight: Array, bias: Array) -> Array:
    """Return x W^T + b as one 2-D matmul over all positions: x (..., d_in), weight (d_out, d_in) -> (..., d_out).

    With a 3-D x, NumPy would do one small matmul per sequence.
    """
    y = x.reshape(-1, x.shape[-1]) @ weight.T
    y += bias
    return y.reshape(*x.shape[:-1], len(weight))


def affine_backward(dy: Array, x: Array, weight: Array, dweight: Array, dbias: Array) -> Array:
    """Add dW += dy^T x and db += sum(dy), return dx = dy W. Rows of x and dy are all positions of all sequences."""
    rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    dweight += rows.T @ x_rows
    dbias += np.ones(len(rows), dy.dtype) @ rows  # as a matmul: several times faster than sum(0)
    return (rows @ weight).reshape(x.shape)


class Linear(Module):
    """Affine map: y = x W^T + b.   (the projections of section 3.2.2, Eq. 2, the pre-softmax map of section 3.4)

    Shapes: x (..., d_in); y (..., d_out); weight (d_out, d_in), as torch stores it; bias (d_out,).
    Backward, with x and dy as matrices of N rows:
        dx = dy W,   dW = dy^T x,   db = sum over rows of dy
    Saved for backward: x. Cost: 2 N d_in d_out flops forward, twice that backward.
    Numerics: Xavier's bounds keep the variance of y near that of x, whatever the depth.
    """

    def __init__(self, d_in: int, d_out: int, *, rng: Rng | None = None, dtype: DType = np.float32) -> None:
        super().__init__()
        check_integer("d_in", d_in, 1)
        check_integer("d_out", d_out, 1)
        self.weight = Parameter(xavier(rng or new_rng(0), d_out, d_in, dtype))
        self.bias = Parameter(np.zeros(d_out, dtype))

    def forward(self, x: Array) -> Array:
        """Map (..., d_in) to (..., d_out)."""
        check_input("x", x, self.weight.data.dtype, self.weight.data.shape[1])
        self.save_for_backward(x)
        return affine(x, self.weight.data, self.bias.data)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y, (..., d_out), to that of x, (..., d_in)."""
        (x,) = self.pop_saved()
        check_gradient(dy, (*x.shape[:-1], len(self.bias.data)), x.dtype)
        return affine_backward(dy, x, self.weight.data, self.weight.grad, self.bias.grad)


class Embedding(Module):
    """Look up rows of a matrix: x = sqrt(d_model) * W[ids].   (section 3.4)

    Shapes: ids (batch, time), integers of any dtype below vocab; x (batch, time, d_model); weight (vocab, d_model).
    Backward:  dW[ids_i] += sqrt(d_model) * dx_i   (a repeated id adds up; ids have no gradient)
    Saved for backward: ids. Cost: one row copied, or added, per position.
    Numerics: rows start with standard deviation d_model^-0.5. So x starts with deviation 1, comparable to positions in
    [-1, 1], and a tied output matrix gives logits of deviation 1. The factor has the parameters' dtype:
    `x * np.sqrt(d_model)` would turn a float32 x into float64.
    """

    def __init__(self, vocab_size: int, d_model: int, *, rng: Rng | None = None, dtype: DType = np.float32) -> None:
        super().__init__()
        check_integer("vocab_size", vocab_size, 1)
        check_integer("d_model", d_model, 1)
        weight = (rng or new_rng(0)).normal(0, d_model**-0.5, (vocab_size, d_model))
        self.weight = Parameter(weight.astype(dtype))

    def forward(self, ids: Array) -> Array:
        """Map ids (batch, time) to (batch, time, d_model)."""
        check_ids("ids", ids, len(self.weight.data))
        self.save_for_backward(ids)
        x = self.weight.data[ids]
        x *= x.dtype.type(math.sqrt(x.shape[-1]))
        return x

    def backward(self, dx: Array) -> None:
        """(batch, time, d_model) -> None. Token ids are discrete, so there is no input gradient."""
        (ids,) = self.pop_saved()
        d_model = self.weight.data.shape[1]
        check_gradient(dx, (*ids.shape, d_model), self.weight.data.dtype)
        scaled = dx.reshape(-1, d_model) * dx.dtype.type(math.sqrt(d_model))
        scatter_rows(ids.reshape(-1), scaled, self.weight.grad)


class LayerNorm(Module):
    """Normalize over d_model: y = gamma * x_hat + beta, x_hat = (x - mean(x)) / sqrt(var(x) + eps).   (1607.06450)

    Shapes: x, y (..., d_model); weight is gamma, bias is beta: (d_model,). var is the biased variance, as in torch.
    Backward, with g = dy * gamma and means over d_model:
        dx     = (g - mean(g) - x_hat * mean(g * x_hat)) / std
        dgamma = sum(dy * x_hat),   dbeta = sum(dy)          (sums over all positions)
    gamma is inside both means. Saved for backward: x_hat and 1 / std. Cost: about ten passes over x.
    Numerics: the mean is subtracted before squaring, because mean(x^2) - mean(x)^2 cancels. Each row is first shifted
    by its own first element, so that a constant row is exactly zero whatever its value and d_model, and stays finite
    because of eps.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5, dtype: DType = np.float32) -> None:
        super().__init__()
        check_integer("d_model", d_model, 1)
        check_not_negative("eps", eps)
        self.weight = Parameter(np.ones(d_model, dtype))
        self.bias = Parameter(np.zeros(d_model, dtype))
        self.eps = eps

    def forward(self, x: Array) -> Array:
        """Map (..., d_model) to the same shape."""
        gamma = self.weight.data
        check_input("x", x, gamma.dtype, len(gamma))
        rows = x.reshape(-1, len(gamma))
        x_hat, inverse_std = self._normalized(rows, self.eps)
        if not (inverse_std > 0).all():  # a difference or a sum of squares overflowed: scale those rows to at most 1
            wrong = ~(inverse_std > 0)
            scale = np.abs(rows[wrong]).max(1)
            scale[~np.isfinite(scale)] = 1
            x_hat[wrong], inverse = self._normalized(rows[wrong] / scale[:, None], self.eps / scale / scale)
            inverse_std[wrong] = inverse / scale
        self.save_for_backward(x_hat, inverse_std, x.shape)
        y: Array = x_hat * gamma
        y += self.bias.data
        return y.reshape(x.shape)

    @staticmethod
    def _normalized(rows: Array, eps: float | Array) -> tuple[Array, Array]:
        """Return x_hat and 1 / std of rows (positions, d_model). 1 / std is 0 where the squares overflow."""
        d_model = rows.shape[1]
        mean = np.full(d_model, 1 / d_model, rows.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            x_hat: Array = rows - rows[:, :1]
            x_hat -= (x_hat @ mean)[:, None]  # as a matmul: several times faster than mean(-1)
            inverse_std = np.vecdot(x_hat, x_hat)  # sums of squares
            inverse_std /= d_model
            inverse_std += np.asarray(eps, rows.dtype)
            np.reciprocal(np.sqrt(inverse_std, out=inverse_std), out=inverse_std)
            x_hat *= inverse_std[:, None]
        return x_hat, inverse_std

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y to that of x, both (..., d_model)."""
        x_hat, inverse_std, shape = self.pop_saved()
        gamma = self.weight.data
        check_gradient(dy, shape, x_hat.dtype)
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


class Dropout(Module):
    """Zero elements at random: y = x * keep / (1 - p), keep ~ Bernoulli(1 - p).   (section 5.4; 1207.0580)

    Shapes: x, y any. In evaluation mode y = x.
    Backward: dx = dy * keep / (1 - p), with the mask of the same call.
    Saved for backward: keep, one byte per element. Cost per element: 16 random bits, a comparison, two multiplications.
    Numerics: keep compares 16 random bits with round(65536 p), so the probability is exact to 8e-6. The bits are
    sampled as 64-bit words and viewed as four numbers each, a fifth of the cost of `rng.binomial`.
    Raises: ValueError unless p is in [0, 1) and below 1 - 2^-17.
    """

    LEVELS = 1 << 16

    def __init__(self, p: float, *, rng: Rng | None = None) -> None:
        super().__init__()
        check_fraction("dropout", p)
        if round(self.LEVELS * p) >= self.LEVELS:
            raise ValueError(f"`dropout` must be at most 0.99999, got {p!r}. It is rounded to a multiple of 2^-16")
        self.p, self.rng = p, rng or new_rng(0)

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """Return an array of the same shape; `out=x` works in place."""
        if not self.training or self.p == 0:
            self.save_for_backward(None, x.shape, x.dtype)
            return x
        words = self.rng.integers(0, 2**64 - 1, -(-x.size // 4), np.uint64, endpoint=True)
        keep = words.view(np.uint16)[: x.size].reshape(x.shape) >= np.uint16(round(self.LEVELS * self.p))
        self.save_for_backward(keep, x.shape, x.dtype)
        return self._apply(x, keep, out)

    def backward(self, dy: Array, out: Array | None = None) -> Array:
        """Map the gradient of y to that of x; `out=dy` works in place."""
        keep, shape, dtype = self.pop_saved()
        check_gradient(dy, shape, dtype)
        return dy if keep is None else self._apply(dy, keep, out)

    def _apply(self, x: Array, keep: Array, out: Array | None) -> Array:
        y: Array = np.multiply(x, keep, out=out)
        y *= x.dtype.type(1 / (1 - self.p))
        return y


def sinusoid(time: int, d_model: int, start: int = 0) -> Array:
    """Return PE(pos, 2i) = sin(pos / 10000^(2i / d_model)) and PE(pos, 2i + 1) = cos of the same.   (section 3.5)

    (time, d_model) in float64, for positions `start` to `start + time - 1`.
    """
    position = np.arange(start, start + time)[:, None]
    angle = position * 10000.0 ** (-np.arange(0, d_model, 2) / d_model)
    table = np.empty((time, d_model))
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : d_model // 2])
    return table


class PositionalEncoding(Module):
    """Add the sinusoids, then drop out: y = Dropout(x + PE).   (sections 3.5 and 5.4)

    Shapes: x, y (batch, time, d_model); PE (time, d_model), without parameters.
    Backward: dx = Dropout's backward of dy, because PE is constant.
    Saved for backward: dropout's mask. The table is computed in float64, cast once, and grows for longer sequences.
    Numerics: in float32, the sine at position 10^4 would be wrong in the fourth digit.
    """

    def __init__(self, d_model: int, dropout: float = 0.0, *, rng: Rng | None = None) -> None:
        super().__init__()
        check_integer("d_model", d_model, 1)
        self.dropout = Dropout(dropout, rng=rng)
        self._table: Array = np.empty((0, d_model))

    def forward(self, x: Array, start: int = 0) -> Array:
        """Map (batch, time, d_model) to the same shape; the first position is `start`."""
        stop = start + x.shape[1]
        if stop > len(self._table) or self._table.dtype != x.dtype:
            self._table = sinusoid(max(stop, 2 * len(self._table)), x.shape[-1]).astype(x.dtype)
        y = x + self._table[start:stop]
        return self.dropout.forward(y, out=y)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y to that of x, both (batch, time, d_model)."""
        return self.dropout.backward(dy)


class ReLU(Module):
    """Rectify: y = max(0, x).

    Shapes: x, y any. Backward: dx = dy where x > 0, else 0; the slope at 0 is 0.
    Saved for backward: where x > 0, one byte per element.
    """

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """Return an array of the same shape; `out=x` works in place."""
        y: Array = np.maximum(x, x.dtype.type(0), out=out)
        if self.training:
            self.save_for_backward(y > 0, x.dtype)
        return y

    def backward(self, dy: Array, out: Array | None = None) -> Array:
        """Map the gradient of y to that of x; `out=dy` works in place."""
        active, dtype = self.pop_saved()
        check_gradient(dy, active.shape, dtype)
        dx: Array = np.multiply(dy, active, out=out)
        return dx


class PositionwiseFeedForward(Module):
    """Apply two linear maps at every position: FFN(x) = max(0, x W_1 + b_1) W_2 + b_2.   (section 3.3, Eq. 2)

    Shapes: x, y (batch, time, d_model); inside (batch, time, d_ff). Dropout follows the ReLU, as in the authors' and
    torch's code.
    Backward, the parts in reverse order:  dh = (dy W_2^T) * keep / (1 - p) * [h > 0],   dx = dh W_1^T
    Saved for backward: x, h after dropout, one byte per element for each mask. Cost: 4 time d_model d_ff flops forward.
    """

    inline: ClassVar[bool] = True  # torch has linear1 and linear2 directly in its Transformer layers

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
        """Map (batch, time, d_model) to the same shape."""
        h = self.linear1.forward(x)
        self.relu.forward(h, out=h)
        return self.linear2.forward(self.dropout.forward(h, out=h))

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y to that of x, both (batch, time, d_model)."""
        dh = self.linear2.backward(dy)
        self.dropout.backward(dh, out=dh)
        return self.linear1.backward(self.relu.backward(dh, out=dh))
