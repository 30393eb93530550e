"""The feed-forward layer and the pre-norm block of GPT-2 (section 2.3)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lets_build_gpt._common.errors import check_choice
from lets_build_gpt.attention import MultiHeadAttention
from lets_build_gpt.cache import KVCache
from lets_build_gpt.config import ACTIVATIONS
from lets_build_gpt.dropout import Dropout


class FeedForwardNetwork(nn.Module):
    """Two linear layers with an activation between them, applied to each token alone.

    FFN(x) = max(0, x W_1 + b_1) W_2 + b_2, Eq. (2) of 1706.03762, with d_ff = 4 d_model.
    activation: "relu" as in the source, or "gelu" (1606.08415).
    """

    def __init__(self, d_model: int, activation: str = "relu", bias: bool = True) -> None:
        super().__init__()
        check_choice("activation", activation, ACTIVATIONS)
        self.activation = activation
        self.proj_up = nn.Linear(d_model, 4 * d_model, bias=bias)
        self.proj_down = nn.Linear(4 * d_model, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Apply the same network at every position."""
        hidden = self.proj_up(x)  # (batch, time, d_ff)
        return self.proj_down(F.gelu(hidden) if self.activation == "gelu" else F.relu(hidden))


class Block(nn.Module):
    """Attention, then feed-forward, each on a residual branch: x + Attention(LN(x)), then x + FFN(LN(x)).

    Dropout acts on both branches. attention_dropout: of the attention weights; None: the same as `dropout`.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        dropout: float = 0.0,
        activation: str = "relu",
        bias: bool = True,
        attention_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model, bias=bias)
        self.self_attn = MultiHeadAttention(
            d_model, n_heads, dropout if attention_dropout is None else attention_dropout, bias
        )
        self.norm2 = nn.LayerNorm(d_model, bias=bias)
        self.ffn = FeedForwardNetwork(d_model, activation, bias)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        cache: KVCache | None = None,
        intermediates: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Return the residual stream after both branches. `cache` and `intermediates`: see MultiHeadAttention."""
        x = x + self.dropout(self.self_attn(self.norm1(x), cache, intermediates))
        return x + self.dropout(self.ffn(self.norm2(x)))
