"""Where a token stands: section 3.5."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def sinusoids(length: int, d_model: int) -> Float[Tensor, "{length} {d_model}"]:
    """PE(pos, 2i) = sin(pos / 10000^(2i / d_model)),  PE(pos, 2i + 1) = cos(the same)   — section 3.5.

    In float64, so that far positions are exact. With an odd d_model the last sine has no cosine.
    """
    position = torch.arange(length, dtype=torch.float64)[:, None]
    angle = position / 10000.0 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    table = torch.empty(length, d_model, dtype=torch.float64)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle[:, : d_model // 2].cos()
    return table


class SinusoidalPositions(nn.Module):
    """The fixed encoding of section 3.5."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        # no buffer: .double() of a buffer that was rounded to float32 would not bring its digits back
        self.table = sinusoids(max_length, d_model)
        self.rounded = self.table

    def forward(self, first: int, n: int, like: Tensor) -> Float[Tensor, "{n} d_model"]:
        """The encodings of positions first ... first + n - 1, with the type and device of `like`."""
        if self.rounded.dtype != like.dtype or self.rounded.device != like.device:
            self.rounded = self.table.to(like.dtype).to(like.device)
        return self.rounded[first : first + n]


class LearnedPositions(nn.Module):
    """A learned vector for each position: row (E) of Table 3, with nearly the same result."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(max_length, d_model))
        nn.init.normal_(self.table, std=d_model**-0.5)

    def forward(self, first: int, n: int, like: Tensor) -> Float[Tensor, "{n} d_model"]:
        """The vectors of positions first ... first + n - 1."""
        return self.table[first : first + n]
