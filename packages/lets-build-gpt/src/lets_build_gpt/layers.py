"""The feed-forward layer and the pre-norm block of GPT-2 (section 2.3)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lets_build_gpt._common.errors import check_choice
from lets_build_gpt.attention import MultiHeadAttention, PastMean
from lets_build_gpt.cache import KVCache
from lets_build_gpt.config import ACTIVATIONS, ATTENTIONS
from lets_build_gpt.dropout import Dropout
from lets_build_gpt.modern import Mix, RotaryEmbedding, SwiGLU, make_norm


class FeedForwardNetwork(nn.Module):
    """Two linear layers with an activation between them, applied to each token alone.

    FFN(x) = max(0, x W_1 + b_1) W_2 + b_2, Eq. (2) of 1706.03762, with d_ff = 4 d_model by default.
    activation: "relu" as in the source, or "gelu" (1606.08415).
    """

    def __init__(self, d_model: int, activation: str = "relu", bias: bool = True, d_ff: int | None = None) -> None:
        super().__init__()
        check_choice("activation", activation, ("relu", "gelu"))
        self.activation = activation
        d_ff = 4 * d_model if d_ff is None else d_ff
        self.proj_up = nn.Linear(d_model, d_ff, bias=bias)
        self.proj_down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Apply the same network at every position."""
        hidden = self.proj_up(x)  # (batch, time, d_ff)
        return self.proj_down(F.gelu(hidden) if self.activation == "gelu" else F.relu(hidden))


class Block(nn.Module):
    """Attention, then feed-forward, each on a residual branch: x + Attention(LN(x)), then x + FFN(LN(x)).

    Dropout acts on both branches. attention_dropout: of the attention weights; None: the same as `dropout`. rope: one
    module for all blocks. The other options: see ModelConfig.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        dropout: float = 0.0,
        activation: str = "relu",
        bias: bool = True,
        attention_dropout: float | None = None,
        *,
        d_ff: int | None = None,
        attention: str = "softmax",
        residual: bool = True,
        norm_type: str = "layer",
        rope: RotaryEmbedding | None = None,
        qk_norm: bool = False,
        value_embeddings: bool = False,
        x0_skip: bool = False,
    ) -> None:
        super().__init__()
        check_choice("activation", activation, ACTIVATIONS)
        check_choice("attention", attention, ATTENTIONS)
        self.residual = residual
        self.mix_x0 = Mix(1.0, 0.0) if x0_skip else None
        self.norm1 = make_norm(norm_type, d_model, bias)
        self.self_attn: nn.Module
        if attention == "mean":
            self.self_attn = PastMean(d_model, bias)
        else:
            p_dropout = dropout if attention_dropout is None else attention_dropout
            self.self_attn = MultiHeadAttention(
                d_model, n_heads, p_dropout, bias, rope=rope, qk_norm=qk_norm, value_embeddings=value_embeddings
            )
        self.norm2: nn.Module | None = None
        self.ffn: nn.Module | None = None
        if d_ff != 0:
            self.norm2 = make_norm(norm_type, d_model, bias)
            if activation == "swiglu":
                self.ffn = SwiGLU(d_model, d_ff, bias)
            else:
                self.ffn = FeedForwardNetwork(d_model, activation, bias, d_ff)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        cache: KVCache | None = None,
        intermediates: list[Tensor] | None = None,
        *,
        x0: Float[Tensor, "batch time d_model"] | None = None,
        value: Float[Tensor, "batch time d_model"] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Return the residual stream after both branches.

        `cache`, `intermediates`, `value`: see MultiHeadAttention. x0: the embedded tokens, for `x0_skip`.
        """
        if self.mix_x0 is not None:
            x = self.mix_x0(x, x0)
        x = self._add(x, self.self_attn(self.norm1(x), cache, intermediates, value))
        if self.ffn is None or self.norm2 is None:
            return x
        return self._add(x, self.ffn(self.norm2(x)))

    def _add(
        self, x: Float[Tensor, "batch time d_model"], branch: Float[Tensor, "batch time d_model"]
    ) -> Float[Tensor, "batch time d_model"]:
        branch = self.dropout(branch)
        return x + branch if self.residual else branch
