"""Dropout with cheap random bits: on a CPU, PyTorch's own random numbers take a fifth of a training step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def dropout(x: Float[Tensor, ...], p: float) -> Float[Tensor, ...]:
    """Zero each element with probability `p` and divide the others by 1 - p (1706.03762, section 5.4).

    On a CPU each element gets 16 bits of a random 64-bit integer, which is three times as fast as PyTorch's Bernoulli
    samples. There `p` is rounded to a multiple of 2^-16 below 1.
    """
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropped = min(round(p * 2**16), 2**16 - 1)  # of 2^16 equally probable values
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)  # from -2^15 to 2^15 - 1
    return torch.where(bits >= dropped - 2**15, x * (2**16 / (2**16 - dropped)), 0.0)


class Dropout(nn.Module):
    """Apply `dropout` in training mode; the identity in evaluation mode."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """Return `x`, with dropout in training mode."""
        return dropout(x, self.p) if self.training and self.p else x
