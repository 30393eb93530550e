"""Scaled dot-product attention and multi-head attention, section 3.2.

Axes: batch, heads, queries, keys, d_k = d_v = d_model / heads.
"""

from __future__ import annotations

import math

import numpy as np

from attention_numpy._common.errors import check_divides, check_integer, invalid
from attention_numpy.cache import KVCache
from attention_numpy.checks import check_gradient, check_input, check_mask
from attention_numpy.functional import softmax, softmax_backward
from attention_numpy.layers import Dropout, Linear, Rng, affine, affine_backward, new_rng, xavier
from attention_numpy.module import Array, DType, Intermediates, Module, Parameter


def scaled_dot_product_attention(
    q: Array, k: Array, v: Array, mask: Array | None = None, dropout: Dropout | None = None
) -> tuple[Array, Array, Array]:
    """Compute Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V.   (section 3.2.1, Eq. 1)

    Shapes: q (batch, heads, queries, d_k); k (batch, heads, keys, d_k); v (batch, heads, keys, d_v); mask boolean,
    broadcast to (batch, heads, queries, keys), True = may attend.
    Returns: the output O (batch, heads, queries, d_v); the weights P (batch, heads, queries, keys); and P after
    dropout, which is P itself without dropout. O is stored as (batch, queries, heads, d_v), so joining the heads
    copies nothing.
    Cost: 2 queries keys (d_k + d_v) flops per head. Numerics: without 1 / sqrt(d_k) the variance of the scores is d_k,
    and the softmax saturates. A query that may attend to nothing yields zeros.
    """
    scores = np.matmul(q, k.swapaxes(-1, -2))  # (batch, heads, queries, keys)
    scores *= scores.dtype.type(1 / math.sqrt(q.shape[-1]))
    p = softmax(scores, mask, out=scores)
    dropped = p if dropout is None else dropout.forward(p)
    joined = np.empty((q.shape[0], q.shape[2], q.shape[1], v.shape[3]), q.dtype)  # (batch, queries, heads, d_v)
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
    """Return dQ, dK, dV. With S = Q K^T / sqrt(d_k), P = softmax(S), P' = dropout(P), O = P' V:

        dV = P'^T dO,    dP' = dO V^T,    dP = dropout's backward of dP'
        dS = P * (dP - rowsum(dP * P))
        dQ = dS K / sqrt(d_k),    dK = dS^T Q / sqrt(d_k)

    Shapes: as in the forward pass. A masked entry has P = 0, so no gradient flows through it. out: arrays that receive
    dQ, dK, dV.
    """
    dq, dk, dv = out or (np.empty_like(q), np.empty_like(k), np.empty_like(v))
    np.matmul(dropped.swapaxes(-1, -2), do, out=dv)
    ds = np.matmul(do, v.swapaxes(-1, -2))  # (batch, heads, queries, keys): dP', then dP, then dS
    if dropout is not None:
        dropout.backward(ds, out=ds)
    softmax_backward(ds, p, out=ds)
    ds *= ds.dtype.type(1 / math.sqrt(q.shape[-1]))
    np.matmul(ds, k, out=dq)
    np.matmul(ds.swapaxes(-1, -2), q, out=dk)
    return dq, dk, dv


class MultiHeadAttention(Module):
    """MultiHead(Q, K, V) = Concat(head_1 .. head_h) W^O,  head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V).   (3.2.2)

    Shapes: x (batch, queries, d_model) gives the queries; memory (batch, keys, d_model) the keys and values. Without
    memory, x gives all three (self-attention; causal by its mask). Output (batch, queries, d_model).
    in_proj_weight (3 d_model, d_model) stacks W^Q, W^K, W^V of all heads, so that self-attention projects with one
    matmul and cross-attention with two. A head is a strided view, not a copy.
    Backward: out_proj's, then attention's, written directly into the gradient of the projection, then
        dx = dQ W^Q + dK W^K + dV W^V   (self),      dx = dQ W^Q,  dmemory = dK W^K + dV W^V   (cross)
    Saved for backward: x, memory, q, k, v, P and P'.
    Cost: 8 queries d_model^2 + 4 queries keys d_model flops forward.
    Numerics: the bias of the keys shifts a row of scores by a constant, so its true gradient is 0; what is computed is
    rounding error.
    """

    def __init__(
        self, d_model: int, n_heads: int, dropout: float = 0.0, *, rng: Rng | None = None, dtype: DType = np.float32
    ) -> None:
        super().__init__()
        check_integer("d_model", d_model, 1)
        check_integer("n_heads", n_heads, 1)
        check_divides("n_heads", n_heads, "d_model", d_model)
        rng = rng or new_rng(0)
        self.n_heads = n_heads
        self.in_proj_weight = Parameter(np.concatenate([xavier(rng, d_model, d_model, dtype) for _ in "QKV"]))
        self.in_proj_bias = Parameter(np.zeros(3 * d_model, dtype))
        self.out_proj = Linear(d_model, d_model, rng=rng, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)

    def _heads(self, projected: Array) -> list[Array]:
        """Split (batch, time, parts * d_model) into `parts` views of shape (batch, heads, time, d_k)."""
        batch, time, width = projected.shape
        d_model = self.in_proj_weight.data.shape[1]
        # (batch, time, parts, heads, d_k)
        split = projected.reshape(batch, time, width // d_model, self.n_heads, d_model // self.n_heads)
        return [split[:, :, i].transpose(0, 2, 1, 3) for i in range(width // d_model)]

    def _project(self, x: Array, rows: slice) -> list[Array]:
        return self._heads(affine(x, self.in_proj_weight.data[rows], self.in_proj_bias.data[rows]))

    def _project_backward(self, dprojected: Array, x: Array, rows: slice) -> Array:
        weight, bias = self.in_proj_weight, self.in_proj_bias
        return affine_backward(dprojected, x, weight.data[rows], weight.grad[rows], bias.grad[rows])

    def forward(
        self,
        x: Array,
        memory: Array | None = None,
        mask: Array | None = None,
        intermediates: Intermediates | None = None,
    ) -> Array:
        """Map (batch, queries, d_model) to the same shape. `intermediates` receives P under this module's name."""
        d_model = self.in_proj_weight.data.shape[1]
        for name, value in (("x", x), ("memory", x if memory is None else memory)):
            check_input(name, value, self.in_proj_weight.data.dtype, d_model)
            if value.ndim != 3 or len(value) != len(x):
                raise invalid(name, f"have the shape (batch = {len(x)}, time, d_model = {d_model})", value.shape)
        if mask is not None:
            keys = (x if memory is None else memory).shape[1]
            check_mask(mask, (len(x), self.n_heads, x.shape[1], keys))
        if memory is None:
            q, k, v = self._project(x, slice(None))
        else:
            (q,) = self._project(x, slice(d_model))
            k, v = self._project(memory, slice(d_model, None))
        heads, p, dropped = scaled_dot_product_attention(q, k, v, mask, self.dropout)
        if intermediates is not None:
            intermediates[self.name] = p
        self.save_for_backward(x, memory, q, k, v, p, dropped)
        return self.out_proj.forward(heads.transpose(0, 2, 1, 3).reshape(x.shape))

    def backward(self, dy: Array) -> tuple[Array, Array | None]:
        """Return the gradients of x and of memory; the latter is None in self-attention."""
        x, memory, q, k, v, p, dropped = self.pop_saved()
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

    def new_cache(self, batch: int) -> KVCache:
        """Return an empty cache for the self-attention of `batch` sequences."""
        d_model, dtype = self.in_proj_weight.data.shape[1], self.in_proj_weight.data.dtype
        empty = np.empty((batch, self.n_heads, 0, d_model // self.n_heads), dtype)
        return KVCache(empty, empty)

    def cache_of(self, memory: Array) -> KVCache:
        """Return the keys and values of a memory, computed once for all decoding steps."""
        k, v = self._project(memory, slice(memory.shape[-1], None))
        return KVCache(k, v)

    def step(self, x: Array, cache: KVCache, mask: Array | None = None, *, cross: bool = False) -> Array:
        """Attend from one new position, (batch, 1, d_model), to the cache; self-attention appends to it first."""
        if cross:
            (q,) = self._project(x, slice(x.shape[-1]))
            k, v = cache.k, cache.v
        else:
            q, k, v = self._project(x, slice(None))
            k, v = cache.append(k, v)
        heads, _, _ = scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj.forward(heads.transpose(0, 2, 1, 3).reshape(x.shape))
