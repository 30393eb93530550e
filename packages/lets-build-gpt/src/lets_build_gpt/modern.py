"""What later models changed in the block of GPT-2: RMSNorm, rotary positions, SwiGLU. Llama (2302.13971) has all three.

Axes in the shapes: batch, time, d_model, d_ff, heads, d_k = d_model / heads.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lets_build_gpt._common.errors import check_choice, check_integer, invalid
from lets_build_gpt.config import NORMS

EPS = 1e-5  # added to the variance or to the mean square: nn.LayerNorm's default, and Llama 2's value
ROPE_BASE = 10_000.0  # the longest wavelength is about 2 pi times as many tokens


class RMSNorm(nn.Module):
    """Divide by the root mean square: y = x / sqrt(mean(x^2) + eps) * weight (1910.07467, Eq. 4).

    A LayerNorm that does not subtract the mean and has no bias. Half precision is normalized in float32.
    """

    def __init__(self, width: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), gain))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Normalize over the last axis."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS) * self.weight


def make_norm(norm_type: str, width: int, bias: bool = True) -> nn.Module:
    """Return a LayerNorm ("layer"), an RMSNorm ("rms"), or the identity ("none")."""
    check_choice("norm_type", norm_type, NORMS)
    if norm_type == "layer":
        return nn.LayerNorm(width, eps=EPS, bias=bias)
    return RMSNorm(width) if norm_type == "rms" else nn.Identity()


class RotaryEmbedding(nn.Module):
    """Encode the position of queries and keys by rotation (RoPE, 2104.09864, section 3.2.2).

    Element i and element i + d_k / 2 are a point in the plane. At position t it is rotated by the angle
    t * base^(-2 i / d_k). The dot product of a query and a key then depends on the distance of their positions only.
    As in Llama, the angles are computed in float32, and the two elements of a pair are d_k / 2 apart; the source pairs
    neighbors, which is the same up to the order of the rows of W_Q and W_K.
    Raises: ValueError if `d_k` is odd.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, d_k: int, context_length: int) -> None:
        super().__init__()
        check_integer("context_length", context_length, 1)
        if d_k % 2:
            raise invalid("d_k", "be even for rotary positions", d_k)
        frequency = 1.0 / ROPE_BASE ** (torch.arange(0, d_k, 2, dtype=torch.float32) / d_k)  # (d_k / 2,)
        angle = torch.arange(context_length, dtype=torch.float32)[:, None] * frequency  # (time, d_k / 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(
        self, x: Float[Tensor, "batch heads time d_k"], start: int = 0
    ) -> Float[Tensor, "batch heads time d_k"]:
        """Rotate queries or keys; the first one is at position `start`."""
        end = start + x.shape[2]
        cos, sin = self.cos[start:end], self.sin[start:end]  # (time, d_k / 2)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class SwiGLU(nn.Module):
    """A gated feed-forward layer: (Swish(x W_gate) * x W_up) W_down (2002.05202, Eq. 6), Swish(z) = z sigmoid(z).

    It has three matrices instead of two. By default d_ff is 8/3 d_model, rounded to a multiple of 8, which gives about
    as many parameters as the two matrices of width 4 d_model.
    """

    def __init__(self, d_model: int, d_ff: int | None = None, bias: bool = True) -> None:
        super().__init__()
        d_ff = max(8, 8 * round(d_model / 3)) if d_ff is None else d_ff
        self.proj_gate = nn.Linear(d_model, d_ff, bias=bias)
        self.proj_up = nn.Linear(d_model, d_ff, bias=bias)
        self.proj_down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Apply the same network at every position."""
        return cast(Tensor, self.proj_down(F.silu(self.proj_gate(x)) * self.proj_up(x)))


class Mix(nn.Module):
    """A learned weighted sum of two tensors: weights[0] a + weights[1] b."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([first, second]))

    def forward(self, a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the sum."""
        return self.weights[0] * a + self.weights[1] * b


def soft_cap(logits: Float[Tensor, "*shape"], cap: float) -> Float[Tensor, "*shape"]:
    """Bound logits smoothly: cap * tanh(logits / cap) (Gemma 2, 2408.00118, section 2)."""
    return cap * torch.tanh(logits / cap)
