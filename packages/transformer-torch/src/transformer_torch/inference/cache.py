"""Key-value cache: a decoder that generates one token at a time computes each position's keys and values once.

Axes: rows = sentences * beams, the rows of one sentence in sequence; time = positions so far; heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from transformer_torch.attention import Append, KeysAndValues


class KVCache:
    """Keys and values of all decoder layers: of the target so far, and of the source.

    Those of the target are laid out time first, (time, rows, heads, d): a new position is one block of memory, and
    reordering the beams copies filled positions only. Those of the source are stored once per sentence, because the
    beams of a sentence attend to the same memory.
    """

    def __init__(
        self, memory: Sequence[KeysAndValues], memory_mask: Bool[Tensor, "sentences 1 1 source"] | None
    ) -> None:
        # laid out once as the matmul of every step reads them
        self.memory = [(k.mT.contiguous().mT, v.contiguous()) for k, v in memory]
        self.memory_mask = memory_mask
        self.length = 0
        self._kept: list[KeysAndValues | None] = [None] * len(memory)

    def append(self, layer: int, k: Tensor, v: Tensor) -> KeysAndValues:
        """Store keys and values of new positions, (rows, heads, new, d), and return those of all positions."""
        end = self.length + k.size(2)
        kept = self._kept[layer]
        if kept is None or len(kept[0]) < end:
            kept = self._kept[layer] = self._grown(kept, k, v, end)
        for store, new in zip(kept, (k, v), strict=True):
            store[self.length : end] = new.permute(2, 0, 1, 3)
        keys, values = (store[:end].permute(1, 2, 0, 3) for store in kept)
        return keys, values

    def _grown(self, kept: KeysAndValues | None, k: Tensor, v: Tensor, end: int) -> KeysAndValues:
        """Room for twice the positions that are needed now."""
        grown = []
        for number, new in enumerate((k, v)):
            rows, heads, _, width = new.shape
            store = new.new_empty(max(32, 2 * end), rows, heads, width)
            if kept is not None:
                store[: self.length] = kept[number][: self.length]
            grown.append(store)
        return grown[0], grown[1]

    def appender(self, layer: int) -> Append:
        """Return `append` for one layer."""
        return lambda k, v: self.append(layer, k, v)

    def reorder(self, rows: Int[Tensor, " kept"], sentences: Int[Tensor, " n"] | None = None) -> None:
        """Keep these rows, in this order; and these sentences only, if some are finished."""
        if sentences is not None:
            self.memory = [(k.mT[sentences].mT, v[sentences]) for k, v in self.memory]
            self.memory_mask = None if self.memory_mask is None else self.memory_mask[sentences]
        for layer, kept in enumerate(self._kept):
            if kept is not None:
                keys, values = (self._selected(store, rows) for store in kept)
                self._kept[layer] = (keys, values)

    def _selected(self, old: Tensor, rows: Tensor) -> Tensor:
        new = old.new_empty(len(old), len(rows), *old.shape[2:])
        torch.index_select(old[: self.length], 1, rows, out=new[: self.length])
        return new

    def reset(self) -> None:
        """Forget the target; the source stays."""
        self.length = 0
