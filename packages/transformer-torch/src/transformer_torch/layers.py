"""The parts of the two stacks (sections 3.1, 3.3 and 5.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from transformer_torch.attention import Append, Intermediates, KeysAndValues, MultiHeadAttention
from transformer_torch.config import TransformerConfig


def dropout(x: Float[Tensor, "*shape"], p: float, training: bool) -> Float[Tensor, "*shape"]:
    """Set each element to zero with probability p and divide the others by 1 - p, in training only.

    On a CPU, PyTorch generates a random number per element, which takes a tenth of a training step. Sixteen bits are
    enough (p is rounded to 1/65536), so one 64-bit number decides about four elements.
    """
    if not training or p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    numbers = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = numbers.view(torch.int16)[: x.numel()].view(x.shape)  # uniform from -32768 to 32767
    kept = (bits >= round(p * 65536) - 32768).to(x.dtype)
    return x * (kept / (1 - p))


def layer_norm(
    x: Float[Tensor, "*batch d_model"],
    gamma: Float[Tensor, " d_model"],
    beta: Float[Tensor, " d_model"],
    eps: float,
) -> Float[Tensor, "*batch d_model"]:
    """Return gamma * (x - mean) / sqrt(var + eps) + beta over the last axis, biased variance.   (1607.06450, Eq. 3)"""
    centered = x - x.mean(-1, keepdim=True)
    return gamma * centered / torch.sqrt(centered.square().mean(-1, keepdim=True) + eps) + beta


class LayerNorm(nn.Module):
    """Layer normalization: the equation is `layer_norm`, the computation a fused kernel that a test holds equal."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(d_model))
        self.beta = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalize each position."""
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, self.eps)


class PositionwiseFeedForward(nn.Module):
    """FFN(x) = max(0, x W_1 + b_1) W_2 + b_2.   (Eq. 2, section 3.3)"""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(d_model, d_ff)
        self.w_2 = nn.Linear(d_ff, d_model)
        for linear in (self.w_1, self.w_2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Apply the same two linear layers at every position."""
        out: Tensor = self.w_2(self.w_1(x).relu())
        return out


class AddAndNorm(nn.Module):
    """The residual connection around a sub-layer, "Add & Norm" in Figure 1.

    post: LayerNorm(x + Dropout(Sublayer(x)))   (sections 3.1 and 5.4)
    pre:  x + Dropout(Sublayer(LayerNorm(x)))   (2002.04745; trains without warm-up, needs a final LayerNorm)
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = LayerNorm(config.d_model, config.layer_norm_eps)
        self.pre = config.norm == "pre"
        self.dropout = config.dropout

    def forward(
        self, x: Float[Tensor, "batch time d_model"], sublayer: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "batch time d_model"]:
        """Apply a sub-layer, a function from (batch, time, d_model) to the same shape."""
        if self.pre:
            return x + dropout(sublayer(self.norm(x)), self.dropout, self.training)
        out: Tensor = self.norm(x + dropout(sublayer(x), self.dropout, self.training))
        return out


def make_attention(config: TransformerConfig) -> MultiHeadAttention:
    """Return an attention sub-layer with the sizes of a configuration."""
    return MultiHeadAttention(config.d_model, config.n_heads, config.key_width, config.value_width)


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward network: the left block of Figure 1."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attn = make_attention(config)
        self.ffn = PositionwiseFeedForward(config.d_model, config.d_ff)
        self.norm_self = AddAndNorm(config)
        self.norm_ffn = AddAndNorm(config)

    def forward(
        self,
        x: Float[Tensor, "batch source d_model"],
        mask: Bool[Tensor, "batch 1 1 source"] | None,
        intermediates: Intermediates | None = None,
        name: str = "",
    ) -> Float[Tensor, "batch source d_model"]:
        """Transform a batch. mask: True at tokens, False at padding; None: no padding."""
        x = self.norm_self(x, lambda y: self.self_attn(y, None, mask, None, intermediates, f"{name}.self_attn"))
        out: Tensor = self.norm_ffn(x, self.ffn)
        return out


class DecoderLayer(nn.Module):
    """Masked self-attention, attention to the encoder, the feed-forward network: the right block of Figure 1."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attn = make_attention(config)
        self.cross_attn = make_attention(config)
        self.ffn = PositionwiseFeedForward(config.d_model, config.d_ff)
        self.norm_self = AddAndNorm(config)
        self.norm_cross = AddAndNorm(config)
        self.norm_ffn = AddAndNorm(config)

    def forward(
        self,
        x: Float[Tensor, "rows target d_model"],
        memory: Float[Tensor, "batch source d_model"] | KeysAndValues,
        causal: Bool[Tensor, "1 1 target _"] | None,
        memory_mask: Bool[Tensor, "batch 1 1 source"] | None,
        append: Append | None = None,
        intermediates: Intermediates | None = None,
        name: str = "",
    ) -> Float[Tensor, "rows target d_model"]:
        """Transform a batch: training, evaluation and cached decoding alike.

        causal: what each target position may attend to. memory_mask: False at padding of the source. append: adds to
        the cache of self-attention. In beam search, several rows in sequence have one sentence of the memory.
        """
        sentences = len(memory[0]) if isinstance(memory, tuple) else len(memory)

        def self_attention(y: Tensor) -> Tensor:
            out: Tensor = self.self_attn(y, None, causal, append, intermediates, f"{name}.self_attn")
            return out

        def cross_attention(y: Tensor) -> Tensor:
            queries = y.reshape(sentences, -1, y.size(-1))  # the rows of a sentence are so many queries of its memory
            out: Tensor = self.cross_attn(queries, memory, memory_mask, None, intermediates, f"{name}.cross_attn")
            return out.view_as(y)

        x = self.norm_self(x, self_attention)
        x = self.norm_cross(x, cross_attention)
        out: Tensor = self.norm_ffn(x, self.ffn)
        return out
