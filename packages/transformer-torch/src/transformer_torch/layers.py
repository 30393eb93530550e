"""What the stacks are made of: sections 3.1, 3.3 and 5.4."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from transformer_torch.attention import MultiHeadAttention, Record
from transformer_torch.config import TransformerConfig
from transformer_torch.dropout import dropout


def normalized(
    x: Float[Tensor, "*batch d_model"],
    gamma: Float[Tensor, " d_model"],
    beta: Float[Tensor, " d_model"],
    eps: float,
) -> Float[Tensor, "*batch d_model"]:
    """gamma * (x - mean) / sqrt(var + eps) + beta, over the last axis, biased variance — 1607.06450, Eq. (3)."""
    centred = x - x.mean(-1, keepdim=True)
    return gamma * centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps) + beta


class LayerNorm(nn.Module):
    """Layer normalization; `normalized` is its equation, a fused kernel runs (a test holds them equal)."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(d_model))
        self.beta = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalize each position by itself."""
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, self.eps)


class PositionwiseFeedForward(nn.Module):
    """FFN(x) = max(0, x W_1 + b_1) W_2 + b_2   — Eq. (2), section 3.3."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(d_model, d_ff)
        self.w_2 = nn.Linear(d_ff, d_model)
        for linear in (self.w_1, self.w_2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Float[Tensor, "batch n d_model"]) -> Float[Tensor, "batch n d_model"]:
        """The same two layers at every position."""
        out: Tensor = self.w_2(self.w_1(x).relu())
        return out


class AddAndNorm(nn.Module):
    """The residual connection around a sub-layer, "Add & Norm" in Figure 1.

    post: LayerNorm(x + Dropout(Sublayer(x)))   — sections 3.1 and 5.4
    pre:  x + Dropout(Sublayer(LayerNorm(x)))   — 2002.04745: trains without warm-up, needs a last LayerNorm
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = LayerNorm(config.d_model)
        self.pre = config.norm == "pre"
        self.dropout = config.dropout

    def forward(
        self, x: Float[Tensor, "batch n d_model"], sublayer: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "batch n d_model"]:
        """Around one sub-layer, a function from (batch, n, d_model) to the same."""
        if self.pre:
            return x + dropout(sublayer(self.norm(x)), self.dropout, self.training)
        out: Tensor = self.norm(x + dropout(sublayer(x), self.dropout, self.training))
        return out


def attention_of(config: TransformerConfig) -> MultiHeadAttention:
    """An attention sub-layer with the sizes of a configuration."""
    return MultiHeadAttention(config.d_model, config.n_heads, config.key_width, config.value_width)


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward network: the left block of Figure 1."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = attention_of(config)
        self.feed_forward = PositionwiseFeedForward(config.d_model, config.d_ff)
        self.around_self = AddAndNorm(config)
        self.around_feed_forward = AddAndNorm(config)

    def forward(
        self,
        x: Float[Tensor, "batch source d_model"],
        mask: Bool[Tensor, "batch 1 1 source"] | None,
        record: Record | None = None,
        name: str = "",
    ) -> Float[Tensor, "batch source d_model"]:
        """mask: True at tokens, False at padding; None: no padding."""
        x = self.around_self(x, lambda y: self.self_attention(y, None, mask, record, f"{name}.self"))
        out: Tensor = self.around_feed_forward(x, self.feed_forward)
        return out


class DecoderLayer(nn.Module):
    """Masked self-attention, attention to the encoder, the feed-forward network: the right block of Figure 1."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = attention_of(config)
        self.cross_attention = attention_of(config)
        self.feed_forward = PositionwiseFeedForward(config.d_model, config.d_ff)
        self.around_self = AddAndNorm(config)
        self.around_cross = AddAndNorm(config)
        self.around_feed_forward = AddAndNorm(config)

    def forward(
        self,
        x: Float[Tensor, "batch target d_model"],
        memory: Float[Tensor, "batch source d_model"],
        causal: Bool[Tensor, "1 1 target target"],
        memory_mask: Bool[Tensor, "batch 1 1 source"] | None,
        record: Record | None = None,
        name: str = "",
    ) -> Float[Tensor, "batch target d_model"]:
        """causal: what each target position may see; memory_mask: False at padding of the source."""
        x = self.around_self(x, lambda y: self.self_attention(y, None, causal, record, f"{name}.self"))
        x = self.around_cross(x, lambda y: self.cross_attention(y, memory, memory_mask, record, f"{name}.cross"))
        out: Tensor = self.around_feed_forward(x, self.feed_forward)
        return out
