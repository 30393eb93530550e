"""The key-value cache: a token's keys and values depend on earlier tokens only, so each is computed once.

Memory for all tokens is allocated at the start; each forward pass fills the next columns. Prompts of different lengths
are aligned at their ends: row b starts with `padding[b]` columns that no real token attends to.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gpt2._common.errors import check_integer, invalid
from gpt2.attention import causal_mask
from gpt2.config import GPT2Config


class KVCache:
    """Keys and values of shape (layers, batch, heads, length, d_k), filled from the left; a `gpt2.model.Cache`.

    `GPT2.hidden(ids, cache)` advances the cache by the tokens that it is given, so no other call is needed.

    length: columns, padding included. padding: unused leading columns of each row; none by default.
    """

    positions: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch 1 time keys"] | None

    def __init__(
        self,
        config: GPT2Config,
        length: int,
        batch_size: int = 1,
        *,
        padding: Int[Tensor, " batch"] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        check_integer("length", length, 1)
        check_integer("batch_size", batch_size, 1)
        if padding is None:
            padding = torch.zeros(batch_size, dtype=torch.long)
        if padding.shape != (batch_size,) or padding.is_floating_point() or int(padding.min()) < 0:
            raise invalid("padding", f"be {batch_size} integers of at least 0", padding)
        d_k = config.d_model // config.n_heads
        shape = (config.n_layers, batch_size, config.n_heads, length, d_k)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)
        self.padding = padding.to(device=device, dtype=torch.long).contiguous()
        self.window = config.window
        self.is_padded = bool(self.padding.any())
        self.start, self.end = 0, 0  # columns of the current forward pass
        self.positions, self.mask = torch.zeros((batch_size, 0), dtype=torch.long, device=device), None

    def advance(self, time: int) -> None:
        """Reserve the next `time` columns and set `positions` and `mask`. Called by `GPT2.hidden`."""
        if self.end + time > self.keys.shape[3]:
            raise invalid("ids", f"fit the {self.keys.shape[3] - self.end} free columns of the cache", time)
        self.start, self.end = self.end, self.end + time
        device = self.padding.device
        columns = torch.arange(self.start, self.end, device=device)
        self.positions = (columns[None] - self.padding[:, None]).clamp(min=0)
        self.mask = None
        if self.is_padded or (time > 1 and (self.start or self.window is not None)):
            keys = torch.arange(self.oldest(), self.end, device=device)
            causal = causal_mask(time, self.end, self.window, device)[:, self.oldest() :]
            real = keys[None] >= self.padding[:, None]
            # padding attends to itself: its output is unused, but must be finite
            itself = keys[None] == columns[:, None]
            self.mask = (causal & (real[:, None] | itself))[:, None]

    def oldest(self) -> int:
        """Return the first column that the current pass reads: a single query with a window needs no older ones."""
        single = self.end - self.start == 1
        return max(0, self.end - self.window) if single and self.window is not None else 0

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store this pass's keys and values of a layer; return those of all columns that may be attended to."""
        if k.shape[2] != self.end - self.start:
            raise invalid("k", f"have the {self.end - self.start} columns that `advance` reserved", k.shape[2])
        self.keys[layer, :, :, self.start : self.end] = k
        self.values[layer, :, :, self.start : self.end] = v
        attended = slice(self.oldest(), self.end)
        return self.keys[layer, :, :, attended], self.values[layer, :, :, attended]

    def reorder(self, rows: Int[Tensor, " batch"]) -> None:
        """Replace row i by row `rows[i]`, as beam search needs it."""
        self.keys, self.values, self.padding = self.keys[:, rows], self.values[:, rows], self.padding[rows]

    def reset(self) -> None:
        """Empty the cache; its memory is reused."""
        self.start, self.end = 0, 0
