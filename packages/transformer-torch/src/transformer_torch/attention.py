"""Attention (section 3.2). Axes: batch, heads, queries and keys (positions), d_k and d_v (widths of one head)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

Intermediates = dict[str, Tensor]  # attention weights by name, such as "decoder.0.cross_attn"
KeysAndValues = tuple[Tensor, Tensor]  # (batch, heads, keys, d_k) and (batch, heads, keys, d_v)
Append = Callable[[Tensor, Tensor], KeysAndValues]  # adds keys and values to those of earlier positions, returns all


def scaled_dot_product_attention(
    q: Float[Tensor, "batch heads queries d_k"],
    k: Float[Tensor, "batch heads keys d_k"],
    v: Float[Tensor, "batch heads keys d_v"],
    mask: Bool[Tensor, "#batch #heads #queries keys"] | None = None,
) -> tuple[Float[Tensor, "batch heads queries d_v"], Float[Tensor, "batch heads queries keys"]]:
    """Return softmax(QK^T / sqrt(d_k)) V and the softmax, the attention weights.   (Eq. 1, section 3.2.1)

    mask: True where a query may attend. A query that may attend to no key yields zeros, and its gradients are zero.
    """
    scores = (q / math.sqrt(q.size(-1))) @ k.transpose(-2, -1)
    if mask is not None:
        # the lowest finite number instead of -inf: a row without any key stays finite, and becomes zero below
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = softmax_over_keys(scores)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ v, weights


def softmax_over_keys(scores: Float[Tensor, "batch heads queries keys"]) -> Float[Tensor, "batch heads queries keys"]:
    """Return the softmax over the last axis.

    On a CPU the keys are the first axis meanwhile: PyTorch is ten times as fast over the first axis, where the other
    axes fill the vector registers, as over a last axis of a dozen numbers.
    """
    if scores.device.type != "cpu":
        return scores.softmax(-1)
    return scores.movedim(-1, 0).contiguous().softmax(0).movedim(0, -1)


def fused_attention(
    q: Float[Tensor, "batch heads queries d_k"],
    k: Float[Tensor, "batch heads keys d_k"],
    v: Float[Tensor, "batch heads keys d_v"],
    mask: Bool[Tensor, "#batch #heads #queries keys"] | None = None,
) -> Float[Tensor, "batch heads queries d_v"]:
    """Return the output of Eq. (1) by PyTorch's fused kernel, which never stores the weights. Faster on CUDA only."""
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v)
    some = mask.any(-1, keepdim=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~some).masked_fill(~some, 0.0)


def causal_mask(
    queries: int, device: torch.device | None = None, earlier: int = 0
) -> Bool[Tensor, "1 1 {queries} {queries+earlier}"]:
    """Return the mask with which position i attends to positions 0 to i only (section 3.2.3).

    earlier: number of keys before the first query, in cached decoding.
    """
    ones = torch.ones(queries, earlier + queries, dtype=torch.bool, device=device)
    return ones.tril(earlier)[None, None]


class MultiHeadAttention(nn.Module):
    """Concat(head_1 ... head_h) W^O,  head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V).   (section 3.2.2)

    The rows of W^Q, W^K and W^V of all heads are stacked in one matrix, so self-attention needs one matmul for them.
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

    def split_heads(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch {self.n_heads} time head"]:
        """Reshape (batch, time, heads * d) to (batch, heads, time, d)."""
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)

    def project_q(
        self, x: Float[Tensor, "batch time d_model"]
    ) -> Float[Tensor, "batch {self.n_heads} time {self.d_k}"]:
        """Return x W^Q of every head."""
        width = self.widths[0]
        return self.split_heads(F.linear(x, self.w_qkv.weight[:width], self.w_qkv.bias[:width]))

    def project_kv(
        self, x: Float[Tensor, "batch time d_model"]
    ) -> tuple[
        Float[Tensor, "batch {self.n_heads} time {self.d_k}"], Float[Tensor, "batch {self.n_heads} time {self.d_v}"]
    ]:
        """Return x W^K and x W^V of every head."""
        kv = F.linear(x, self.w_qkv.weight[self.widths[0] :], self.w_qkv.bias[self.widths[0] :])
        k, v = torch.split(kv, self.widths[1:], -1)
        return self.split_heads(k), self.split_heads(v)

    def project_qkv(self, x: Float[Tensor, "batch time d_model"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return x W^Q, x W^K and x W^V of every head, by one matmul."""
        q, k, v = torch.split(self.w_qkv(x), self.widths, -1)
        return self.split_heads(q), self.split_heads(k), self.split_heads(v)

    def combine(
        self, heads: Float[Tensor, "batch {self.n_heads} time {self.d_v}"]
    ) -> Float[Tensor, "batch time d_model"]:
        """Return Concat(heads) W^O."""
        out: Tensor = self.w_o(heads.transpose(1, 2).flatten(2))
        return out

    def forward(
        self,
        x: Float[Tensor, "batch queries d_model"],
        memory: Float[Tensor, "batch source d_model"] | KeysAndValues | None = None,
        mask: Bool[Tensor, "#batch #heads #queries _"] | None = None,
        append: Append | None = None,
        intermediates: Intermediates | None = None,
        name: str = "",
    ) -> Float[Tensor, "batch queries d_model"]:
        """Attend from x to itself, or to a memory, which may be given as its keys and values.

        append: adds the keys and values of x to a cache. intermediates: receives the attention weights under `name`.
        """
        if memory is None:
            q, k, v = self.project_qkv(x)
        else:
            q, (k, v) = self.project_q(x), memory if isinstance(memory, tuple) else self.project_kv(memory)
        if append is not None:
            k, v = append(k, v)
        if x.is_cuda and intermediates is None:
            return self.combine(fused_attention(q, k, v, mask))
        heads, weights = scaled_dot_product_attention(q, k, v, mask)
        if intermediates is not None:
            intermediates[name] = weights
        return self.combine(heads)
