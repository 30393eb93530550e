"""The key/value cache: a token's keys and values depend on what stands before it only, so they are computed once.

Memory for all tokens is taken at the start; a call fills the next columns. Prompts of different lengths stand
flush right: row b begins at column `first[b]`, columns before it are padding that nobody attends to.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gpt2.attention import causal_mask
from gpt2.model import GPT2Config


class KVCache:
    """Keys and values (layers, batch, heads, length, d_k), filled from the left; a `gpt2.model.Cache`."""

    positions: Int[Tensor, "batch tokens"]
    mask: Bool[Tensor, "batch 1 tokens keys"] | None

    def __init__(
        self,
        config: GPT2Config,
        length: int,
        first: Int[Tensor, " batch"],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        d_k = config.d_model // config.n_heads
        shape = (config.n_layers, len(first), config.n_heads, length, d_k)
        self.keys = torch.zeros(shape, dtype=dtype, device=first.device)
        self.values = torch.zeros_like(self.keys)
        self.first, self.window = first, config.window
        self.padded = bool(first.any())
        self.start, self.end = 0, 0  # columns of the present call

    def begin(self, tokens: int) -> None:
        """Make room for the next `tokens` columns; the model is called once after it."""
        if self.end + tokens > self.keys.shape[3]:
            raise ValueError(f"tokens: {self.end} + {tokens} are more than the cache's {self.keys.shape[3]}")
        self.start, self.end = self.end, self.end + tokens
        columns = torch.arange(self.start, self.end, device=self.first.device)
        self.positions = (columns[None] - self.first[:, None]).clamp(min=0)
        self.mask = None
        if self.padded or (tokens > 1 and (self.start or self.window is not None)):
            keys = torch.arange(self.oldest(), self.end, device=self.first.device)
            causal = causal_mask(tokens, self.end, self.window, self.first.device)[:, self.oldest() :]
            real = keys[None] >= self.first[:, None]
            # padding looks at itself: its output is not used, but must be a number
            itself = keys[None] == columns[:, None]
            self.mask = (causal & (real[:, None] | itself))[:, None]

    def oldest(self) -> int:
        """The first column that the present call reads: one query with a window does not look further back."""
        single = self.end - self.start == 1
        return max(0, self.end - self.window) if single and self.window is not None else 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep this call's k and v of a layer; return those of all columns that the call may look at."""
        self.keys[layer, :, :, self.start : self.end] = k
        self.values[layer, :, :, self.start : self.end] = v
        seen = slice(self.oldest(), self.end)
        return self.keys[layer, :, :, seen], self.values[layer, :, :, seen]
