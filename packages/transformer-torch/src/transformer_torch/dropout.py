"""Dropout, section 5.4, without paying for more random bits than it needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def dropout(x: Float[Tensor, "*shape"], p: float, training: bool) -> Float[Tensor, "*shape"]:
    """Each element becomes zero with probability p, the others are divided by 1 - p; in training only.

    On a CPU torch draws a random number of its own for every element, at a tenth of a training step. Sixteen bits
    decide as well (p is rounded to 1/65536), and one draw of 64 serves four elements.
    """
    if not training or p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)  # uniform from -32768 to 32767
    kept = (bits >= round(p * 65536) - 32768).to(x.dtype)
    return x * (kept / (1 - p))
