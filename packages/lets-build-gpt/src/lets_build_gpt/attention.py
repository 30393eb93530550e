"""Causal self-attention: one head as Eq. (1) of "Attention Is All You Need" (1706.03762), and several heads at once.

Axes in the shapes: batch, time (tokens of a window), d_model, heads, d_k = d_model / heads, queries, keys.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lets_build_gpt._common.errors import check_divides, check_integer, invalid
from lets_build_gpt.cache import KVCache
from lets_build_gpt.dropout import Dropout, dropout
from lets_build_gpt.modern import Mix, RMSNorm, RotaryEmbedding

QUERY_GAIN = 1.0  # initial gain of normalized queries


class SelfAttention(nn.Module):
    """One causal head: softmax(Q K^T / sqrt(d_k)) V, Eq. (1), where a token attends to itself and to earlier tokens.

    Read this class first. MultiHeadAttention computes several heads at once; its `heads()` returns them separately.
    """

    def __init__(self, d_model: int, d_k: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_k, bias=False)
        self.key = nn.Linear(d_model, d_k, bias=False)
        self.value = nn.Linear(d_model, d_k, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_k"]:
        """Return, for each token, a weighted mean of the values of itself and of the earlier tokens."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])  # (batch, time, time)
        may_attend = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        weights = torch.softmax(scores.masked_fill(~may_attend, -math.inf), dim=-1)
        return self.dropout(weights) @ v


class MultiHeadAttention(nn.Module):
    """Several causal heads, concatenated and projected: Concat(head_1, ..., head_h) W^O (section 3.2.2).

    One matmul computes the queries, keys and values of all heads. The rows of `qkv.weight` are the queries of head 1,
    ..., head h, then all keys, then all values.
    rope: rotates queries and keys by their position. qk_norm: normalize each query and each key to a root mean square
    of 1, times a learned gain (2302.05442, section 2.1, with RMSNorm). value_embeddings: mix the values with a second
    tensor, the argument `value` of `forward`.
    Raises: ValueError if `n_heads` does not divide `d_model`.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        rope: RotaryEmbedding | None = None,
        qk_norm: bool = False,
        value_embeddings: bool = False,
    ) -> None:
        super().__init__()
        check_integer("n_heads", n_heads, 1)
        check_divides("n_heads", n_heads, "d_model", d_model)
        self.n_heads = n_heads
        self.p_dropout = dropout
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.projection = nn.Linear(d_model, d_model, bias=bias)
        self.rope = rope
        self.q_norm = RMSNorm(d_model // n_heads, QUERY_GAIN) if qk_norm else None
        self.k_norm = RMSNorm(d_model // n_heads) if qk_norm else None
        self.mix_value = Mix(0.5, 0.5) if value_embeddings else None

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        cache: KVCache | None = None,
        intermediates: list[Tensor] | None = None,
        value: Float[Tensor, "batch time d_model"] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Attend causally; with a cache, also to the tokens stored in it.

        The attention weights (batch, heads, queries, keys) are appended to the list `intermediates`. `value`: the
        value embeddings of the tokens.
        """
        batch, time, d_model = x.shape
        # (3, batch, heads, time, d_k); contiguous, because bmm is slower on strided matrices
        q, k, v = self.qkv(x).view(batch, time, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4).contiguous().unbind(0)
        if self.mix_value is not None:
            if value is None:
                raise invalid("value", "be given with value embeddings", value)
            v = self.mix_value(v, value.view(batch, time, self.n_heads, -1).transpose(1, 2))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rope is not None:
            start = 0 if cache is None else cache.length
            q, k = self.rope(q, start), self.rope(k, start)
        q, k = q.to(v.dtype), k.to(v.dtype)
        if cache is not None:
            k, v = cache.append(self, k, v)
        p_dropout = self.p_dropout if self.training else 0.0
        if x.is_cuda and intermediates is None and (cache is None or time == k.shape[2]):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p_dropout)
        else:
            out, weights = causal_attention(q, k, v, p_dropout)
            if intermediates is not None:
                intermediates.append(weights)
        return self.projection(out.transpose(1, 2).reshape(batch, time, d_model))

    def heads(self) -> list[SelfAttention]:
        """Return the heads as separate modules with copies of their weights.

        The concatenation of their outputs, projected, equals `forward`.
        Raises: ValueError with RoPE, QK-norm or value embeddings, which a SelfAttention does not have.
        """
        if self.rope is not None or self.q_norm is not None or self.mix_value is not None:
            raise ValueError("`heads` must be called without RoPE, QK-norm and value embeddings")
        d_model = self.qkv.in_features
        d_k = d_model // self.n_heads
        heads = []
        per_head = (part.split(d_k) for part in self.qkv.weight.detach().split(d_model))
        for weights in zip(*per_head, strict=True):
            head = SelfAttention(d_model, d_k, self.p_dropout).to(self.qkv.weight).train(self.training)
            for projection, weight in zip((head.query, head.key, head.value), weights, strict=True):
                projection.weight = nn.Parameter(weight.clone())
            heads.append(head)
        return heads


class PastMean(nn.Module):
    """The mean of the values of a token and of all earlier tokens, projected: attention whose scores are all zero."""

    def __init__(self, d_model: int, bias: bool = True) -> None:
        super().__init__()
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.projection = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        cache: KVCache | None = None,
        intermediates: list[Tensor] | None = None,
        value: None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Return the mean for each token; arguments as of MultiHeadAttention."""
        v = self.value(x)[:, None]  # (batch, 1 head, time, d_model)
        q, k = torch.zeros_like(v), torch.zeros_like(v)
        if cache is not None:
            k, v = cache.append(self, k, v)
        out, weights = causal_attention(q, k, v)
        if intermediates is not None:
            intermediates.append(weights)
        return cast(Tensor, self.projection(out[:, 0]))


def causal_attention(
    q: Float[Tensor, "batch heads queries d_k"],
    k: Float[Tensor, "batch heads keys d_k"],
    v: Float[Tensor, "batch heads keys d_k"],
    p_dropout: float = 0.0,
) -> tuple[Float[Tensor, "batch heads queries d_k"], Float[Tensor, "batch heads queries keys"]]:
    """Return softmax(Q K^T / sqrt(d_k) + mask) V and the weights. The last query belongs to the last key.

    Written out because PyTorch's fused kernel trains more slowly on a CPU: its backward pass is slow in bfloat16.
    Adding the mask inside the matmul (baddbmm) saves a pass over the scores, forward and backward.
    """
    batch, heads, queries, d_k = q.shape
    keys = k.shape[2]
    future = torch.full((queries, keys), -math.inf, dtype=_matmul_dtype(q), device=q.device).triu(keys - queries + 1)
    scores = torch.baddbmm(
        future.expand(batch * heads, queries, keys),
        q.reshape(batch * heads, queries, d_k),
        k.reshape(batch * heads, keys, d_k).transpose(1, 2),
        alpha=1 / math.sqrt(d_k),
    )
    weights = torch.softmax(scores, dim=-1)
    kept = dropout(weights, p_dropout) if p_dropout else weights
    out = torch.bmm(kept, v.reshape(batch * heads, keys, d_k))
    return out.view(batch, heads, queries, d_k), weights.view(batch, heads, queries, keys)


def _matmul_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a matmul of `x` runs: autocast's, where it is enabled."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
