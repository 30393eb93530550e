"""Positional encodings (section 3.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def sinusoids(length: int, d_model: int, first: int = 0) -> Float[Tensor, "{length} {d_model}"]:
    """Return PE(pos, 2i) = sin(pos / 10000^(2i / d_model)), PE(pos, 2i + 1) = cos(…) for `length` positions.

    Computed in float64, so that far positions are exact. With an odd d_model the last sine has no cosine.
    first: the first position.
    """
    position = torch.arange(first, first + length, dtype=torch.float64)[:, None]
    angle = position / 10000.0 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    table = torch.empty(length, d_model, dtype=torch.float64)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle[:, : d_model // 2].cos()
    return table


class SinusoidalPositions(nn.Module):
    """The fixed encoding of section 3.5. It extends to positions beyond `max_length`."""

    table: Tensor

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.max_length, self.d_model = max_length, d_model
        self.register_buffer("table", sinusoids(max_length, d_model).to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> SinusoidalPositions:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # computed again instead of cast: exact after .float().double(), and filled after .to_empty()
        self.table = sinusoids(self.max_length, self.d_model).to(self.table)
        return self

    def forward(self, first: int, n: int) -> Float[Tensor, "{n} d_model"]:
        """Return the encodings of positions first to first + n - 1."""
        if first + n <= self.max_length:
            return self.table[first : first + n]
        return sinusoids(n, self.d_model, first).to(self.table)


class LearnedPositions(nn.Module):
    """A learned vector for each position: row (E) of Table 3, "nearly identical results"."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(max_length, d_model))
        nn.init.normal_(self.table, std=d_model**-0.5)

    def forward(self, first: int, n: int) -> Float[Tensor, "{n} d_model"]:
        """Return the vectors of positions first to first + n - 1. Raises: ValueError beyond `max_length`."""
        if first + n > len(self.table):
            raise ValueError(
                f"`ids` must have at most {len(self.table)} positions (this model's learned positions end there), "
                f"got {first + n}"
            )
        return self.table[first : first + n]
