"""Attention: section 3.2. Shapes: batch, heads (h), queries and keys (positions), d_k and d_v (width of one head)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

Record = dict[str, Tensor]  # named intermediates, filled by the model on request


def scaled_dot_product_attention(
    q: Float[Tensor, "batch heads queries d_k"],
    k: Float[Tensor, "batch heads keys d_k"],
    v: Float[Tensor, "batch heads keys d_v"],
    mask: Bool[Tensor, "#batch #heads #queries keys"] | None = None,
) -> tuple[Float[Tensor, "batch heads queries d_v"], Float[Tensor, "batch heads queries keys"]]:
    """softmax(QK^T / sqrt(d_k)) V and the weights — Eq. (1), section 3.2.1.

    mask: True where a query may attend. A query that may attend to nothing gets zeros, and so do its gradients.
    """
    scores = (q / math.sqrt(q.size(-1))) @ k.transpose(-2, -1)
    if mask is None:
        weights = scores.softmax(-1)
    else:
        # the lowest finite number, not -inf: a row without any key stays finite, and its weights become zero below
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~mask, 0.0)
    return weights @ v, weights


def batched_attention(
    q: Float[Tensor, "batch heads queries d_k"],
    k: Float[Tensor, "batch heads keys d_k"],
    v: Float[Tensor, "batch heads keys d_v"],
    mask: Bool[Tensor, "#batch #heads #queries keys"] | None = None,
) -> Float[Tensor, "batch heads queries d_v"]:
    """The same for many short sequences on a CPU, in fewer passes over memory.

    Keys come first while the softmax is taken: torch does it a dozen times as fast over the first axis, where all
    other axes together fill a vector register, as over a last axis of a dozen numbers.
    """
    scores = (q @ k.mT).movedim(-1, 0).contiguous()
    if mask is None:
        scores = scores / math.sqrt(q.size(-1))
    else:
        hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, torch.finfo(q.dtype).min)
        scores = torch.add(hidden.movedim(-1, 0), scores, alpha=q.size(-1) ** -0.5)
    heads = scores.softmax(0).movedim(0, -1) @ v
    if mask is None or bool((some := mask.any(-1, keepdim=True)).all()):
        return heads
    return heads.masked_fill(~some, 0.0)


def fused_attention(
    q: Float[Tensor, "batch heads queries d_k"],
    k: Float[Tensor, "batch heads keys d_k"],
    v: Float[Tensor, "batch heads keys d_v"],
    mask: Bool[Tensor, "#batch #heads #queries keys"] | None = None,
) -> Float[Tensor, "batch heads queries d_v"]:
    """The same by torch's fused kernel, which never holds the weights: faster on a GPU, slower on a CPU in bf16."""
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v)
    some = mask.any(-1, keepdim=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~some).masked_fill(~some, 0.0)


def causal_mask(length: int, device: torch.device | None = None) -> Bool[Tensor, "1 1 length length"]:
    """Position i may attend to 0 ... i: what keeps the decoder auto-regressive (section 3.2.3)."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]


class MultiHeadAttention(nn.Module):
    """Concat(head_1 ... head_h) W^O,  head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V)   — section 3.2.2.

    W^Q, W^K and W^V of all heads lie below one another in one matrix, so that self-attention is one product.
    """

    def __init__(self, d_model: int, n_heads: int, d_k: int, d_v: int) -> None:
        super().__init__()
        self.n_heads, self.d_k, self.d_v = n_heads, d_k, d_v
        self.widths = [n_heads * d_k, n_heads * d_k, n_heads * d_v]
        self.w_qkv = nn.Linear(d_model, sum(self.widths))
        self.w_o = nn.Linear(n_heads * d_v, d_model)
        for part in torch.split(self.w_qkv.weight.data, self.widths):
            nn.init.xavier_uniform_(part)
        nn.init.xavier_uniform_(self.w_o.weight)
        nn.init.zeros_(self.w_qkv.bias)
        nn.init.zeros_(self.w_o.bias)

    def split_heads(self, x: Float[Tensor, "batch n width"]) -> Float[Tensor, "batch {self.n_heads} n head"]:
        """(batch, n, h * d) -> (batch, h, n, d)."""
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)

    def queries(self, x: Float[Tensor, "batch n d_model"]) -> Float[Tensor, "batch {self.n_heads} n {self.d_k}"]:
        """Q W^Q, in heads."""
        width = self.widths[0]
        return self.split_heads(F.linear(x, self.w_qkv.weight[:width], self.w_qkv.bias[:width]))

    def keys_and_values(
        self, x: Float[Tensor, "batch n d_model"]
    ) -> tuple[Float[Tensor, "batch {self.n_heads} n {self.d_k}"], Float[Tensor, "batch {self.n_heads} n {self.d_v}"]]:
        """K W^K and V W^V, in heads."""
        kv = F.linear(x, self.w_qkv.weight[self.widths[0] :], self.w_qkv.bias[self.widths[0] :])
        k, v = torch.split(kv, self.widths[1:], -1)
        return self.split_heads(k), self.split_heads(v)

    def queries_keys_and_values(self, x: Float[Tensor, "batch n d_model"]) -> tuple[Tensor, Tensor, Tensor]:
        """All three for self-attention, in heads, by one product."""
        q, k, v = torch.split(self.w_qkv(x), self.widths, -1)
        return self.split_heads(q), self.split_heads(k), self.split_heads(v)

    def combine(self, heads: Float[Tensor, "batch {self.n_heads} n {self.d_v}"]) -> Float[Tensor, "batch n d_model"]:
        """Concat(heads) W^O."""
        out: Tensor = self.w_o(heads.transpose(1, 2).flatten(2))
        return out

    def forward(
        self,
        x: Float[Tensor, "batch queries d_model"],
        memory: Float[Tensor, "batch keys d_model"] | None = None,
        mask: Bool[Tensor, "#batch #heads #queries _"] | None = None,
        record: Record | None = None,
        name: str = "",
    ) -> Float[Tensor, "batch queries d_model"]:
        """Attend from x to itself, or to a memory. With a record, the weights are kept in it under `name`."""
        if memory is None:
            q, k, v = self.queries_keys_and_values(x)
        else:
            q, (k, v) = self.queries(x), self.keys_and_values(memory)
        if record is None:
            attention = fused_attention if x.is_cuda else batched_attention
            return self.combine(attention(q, k, v, mask))
        heads, weights = scaled_dot_product_attention(q, k, v, mask)
        if record is not None:
            record[name] = weights
        return self.combine(heads)
