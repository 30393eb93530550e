"""Scaled dot-product attention and multi-head attention, section 3.2.

Letters: batch, h heads, n queries, m keys, d_k = d_v = d_model / h.
"""

from __future__ import annotations

import math

import numpy as np

from attention_numpy.functional import softmax, softmax_backward
from attention_numpy.layer import Array, DType, Layer, Parameter, check_gradient, check_input
from attention_numpy.layers import Dropout, Linear, Rng, affine, affine_backward, new_rng, xavier


def scaled_dot_product_attention(
    q: Array, k: Array, v: Array, mask: Array | None = None, dropout: Dropout | None = None
) -> tuple[Array, Array, Array]:
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V   — Eq. (1), section 3.2.1.

    q: (batch, h, n, d_k); k: (batch, h, m, d_k); v: (batch, h, m, d_v); mask: boolean, broadcast to
    (batch, h, n, m), True = may attend. Returns the output (batch, h, n, d_v), the weights P (batch, h, n, m), and P
    after dropout, which is P itself without. The output lies in memory as (batch, n, h, d_v): joining heads is free.
    Cost: 2 n m (d_k + d_v) flops a head. Numerics: without 1 / sqrt(d_k) the scores' variance is d_k, and
    the softmax saturates; a query that may attend to nothing gets zeros.
    """
    scores = np.matmul(q, k.swapaxes(-1, -2))
    scores *= scores.dtype.type(1 / math.sqrt(q.shape[-1]))
    p = softmax(scores, mask, out=scores)
    dropped = p if dropout is None else dropout.forward(p)
    joined = np.empty((q.shape[0], q.shape[2], q.shape[1], v.shape[3]), q.dtype)
    return np.matmul(dropped, v, out=joined.transpose(0, 2, 1, 3)), p, dropped


def scaled_dot_product_attention_backward(
    do: Array,
    q: Array,
    k: Array,
    v: Array,
    p: Array,
    dropped: Array,
    dropout: Dropout | None = None,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """With S = Q K^T / sqrt(d_k), P = softmax(S), P' = dropout(P), O = P' V:

        dV = P'^T dO,    dP' = dO V^T,    dP = dropout's backward of dP'
        dS = P * (dP - rowsum(dP * P))
        dQ = dS K / sqrt(d_k),    dK = dS^T Q / sqrt(d_k)

    Shapes as in the forward pass. A masked entry has P = 0, so nothing flows through it. `out`: where to write
    dQ, dK, dV.
    """
    dq, dk, dv = out or (np.empty_like(q), np.empty_like(k), np.empty_like(v))
    np.matmul(dropped.swapaxes(-1, -2), do, out=dv)
    ds = np.matmul(do, v.swapaxes(-1, -2))
    if dropout is not None:
        dropout.backward(ds, out=ds)
    softmax_backward(ds, p, out=ds)
    ds *= ds.dtype.type(1 / math.sqrt(q.shape[-1]))
    np.matmul(ds, k, out=dq)
    np.matmul(ds.swapaxes(-1, -2), q, out=dk)
    return dq, dk, dv


class KeyValueCache:
    """The keys and values of one attention layer for the positions that were decoded: (batch, h, length, d_k) each."""

    def __init__(self, k: Array, v: Array, length: int = 0) -> None:
        self.k, self.v, self.length = k, v, length

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Put down one position's key and value, (batch, h, 1, d_k); returns all so far."""
        self.k[:, :, self.length : self.length + 1] = k
        self.v[:, :, self.length : self.length + 1] = v
        self.length += 1
        return self.k[:, :, : self.length], self.v[:, :, : self.length]

    def select(self, rows: Array) -> KeyValueCache:
        """The cache of some sequences of the batch, in the order given; a row may come twice (beam search)."""
        return KeyValueCache(self.k[rows], self.v[rows], self.length)


class MultiHeadAttention(Layer):
    """MultiHead(Q, K, V) = Concat(head_1 .. head_h) W^O,  head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V)   — 3.2.2.

    x: (batch, n, d_model) gives the queries; memory: (batch, m, d_model) the keys and values; without memory,
    x gives all three (self-attention; causal by its mask). Output: (batch, n, d_model).
    in_proj_weight: (3 d_model, d_model), the rows of W^Q, W^K, W^V of all heads one upon the other, so that
    self-attention projects in one product and cross-attention in two. A head is a strided view, no copy.
    Backward: out_proj's, then attention's, written straight into the gradient of the projection, then
        dx = dQ W^Q + dK W^K + dV W^V   (self),      dx = dQ W^Q,  dmemory = dK W^K + dV W^V   (cross)
    Kept for backward: x, memory, q, k, v, P and P'. Cost: 8 n d_model^2 + 4 n m d_model flops forward.
    Numerics: a bias of the keys shifts a row of scores by a constant; its true gradient is 0, only rounding is seen.
    """

    def __init__(
        self, d_model: int, n_heads: int, dropout: float = 0.0, *, rng: Rng | None = None, dtype: DType = np.float32
    ) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(f"n_heads: {n_heads} met, d_model = {d_model} must be a multiple of it")
        rng = rng or new_rng(0)
        self.n_heads = n_heads
        self.in_proj_weight = Parameter(np.concatenate([xavier(rng, d_model, d_model, dtype) for _ in "QKV"]))
        self.in_proj_bias = Parameter(np.zeros(3 * d_model, dtype))
        self.out_proj = Linear(d_model, d_model, rng=rng, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)

    def _heads(self, projected: Array) -> list[Array]:
        """(batch, n, c * d_model) -> c views (batch, h, n, d_k)."""
        batch, n, width = projected.shape
        d_model = self.in_proj_weight.data.shape[1]
        split = projected.reshape(batch, n, width // d_model, self.n_heads, d_model // self.n_heads)
        return [split[:, :, i].transpose(0, 2, 1, 3) for i in range(width // d_model)]

    def _project(self, x: Array, rows: slice) -> list[Array]:
        return self._heads(affine(x, self.in_proj_weight.data[rows], self.in_proj_bias.data[rows]))

    def _project_backward(self, dprojected: Array, x: Array, rows: slice) -> Array:
        weight, bias = self.in_proj_weight, self.in_proj_bias
        return affine_backward(dprojected, x, weight.data[rows], weight.grad[rows], bias.grad[rows])

    def forward(
        self, x: Array, memory: Array | None = None, mask: Array | None = None, seen: dict[str, Array] | None = None
    ) -> Array:
        """(batch, n, d_model) -> the same. `seen` receives the weights P by this layer's name."""
        d_model = self.in_proj_weight.data.shape[1]
        for name, value in (("x", x), ("memory", x if memory is None else memory)):
            check_input(name, value, self.in_proj_weight.data.dtype, d_model)
        if memory is None:
            q, k, v = self._project(x, slice(None))
        else:
            (q,) = self._project(x, slice(d_model))
            k, v = self._project(memory, slice(d_model, None))
        heads, p, dropped = scaled_dot_product_attention(q, k, v, mask, self.dropout)
        if seen is not None:
            seen[self.name] = p
        self.keep(x, memory, q, k, v, p, dropped)
        return self.out_proj.forward(heads.transpose(0, 2, 1, 3).reshape(x.shape))

    def backward(self, dy: Array) -> tuple[Array, Array | None]:
        """(batch, n, d_model) -> the gradients of x and of memory; the latter is None in self-attention."""
        x, memory, q, k, v, p, dropped = self.kept()
        check_gradient(dy, x.shape, x.dtype)
        do = self._heads(self.out_proj.backward(dy))[0]
        d_model = x.shape[-1]
        if memory is None:
            dqkv = np.empty((*x.shape[:-1], 3 * d_model), x.dtype)
            dq, dk, dv = self._heads(dqkv)
        else:
            dquery, dkv = np.empty_like(x), np.empty((*memory.shape[:-1], 2 * d_model), x.dtype)
            (dq,), (dk, dv) = self._heads(dquery), self._heads(dkv)
        scaled_dot_product_attention_backward(do, q, k, v, p, dropped, self.dropout, out=(dq, dk, dv))
        if memory is None:
            return self._project_backward(dqkv, x, slice(None)), None
        dx = self._project_backward(dquery, x, slice(d_model))
        return dx, self._project_backward(dkv, memory, slice(d_model, None))

    # ------------------------------------------------------------------------------------------- decoding

    def new_cache(self, batch: int, length: int) -> KeyValueCache:
        """An empty cache with room for `length` positions."""
        d_model, dtype = self.in_proj_weight.data.shape[1], self.in_proj_weight.data.dtype
        shape = (batch, self.n_heads, length, d_model // self.n_heads)
        return KeyValueCache(np.empty(shape, dtype), np.empty(shape, dtype))

    def cache_of(self, memory: Array) -> KeyValueCache:
        """The keys and values of a memory, computed once for all steps."""
        k, v = self._project(memory, slice(memory.shape[-1], None))
        return KeyValueCache(k, v, k.shape[2])

    def step(self, x: Array, cache: KeyValueCache, mask: Array | None = None, *, cross: bool = False) -> Array:
        """Attention of one new position, (batch, 1, d_model), to the cache; self-attention appends to it first."""
        if cross:
            (q,) = self._project(x, slice(x.shape[-1]))
            k, v = cache.k, cache.v
        else:
            q, k, v = self._project(x, slice(None))
            k, v = cache.append(k, v)
        heads, _, _ = scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj.forward(heads.transpose(0, 2, 1, 3).reshape(x.shape))
