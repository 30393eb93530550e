"""The memory of known pre-tokens: one table per tokenizer, shared by its threads, of bounded size.

A table starts small. When it is nearly full, a new one replaces it, large if fewer than MAX_LARGE tables are, and calls
that still run finish with the old one. The kernels in `kernels/cache.py` read and fill it.
"""

from __future__ import annotations

import os
import weakref

import numpy as np

from bpe.fast import struct_layout as layout
from bpe.fast.buffers import zeroed_arrays, zeroed_words
from bpe.fast.struct_layout import ARENA_MORE, LARGE_BITS, LONG_LESS, PADDING, POOL_MORE, SMALL_BITS

MAX_LARGE = 2  # large tables in a process, 23 MB each; a small one has 6 MB

_large: weakref.WeakSet[PretokenTable] = weakref.WeakSet()
_forks = 0


def _count_fork() -> None:
    """A thread of the parent may have been storing an entry, of which the child has a part: no table survives."""
    global _forks
    _forks += 1
    _large.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class PretokenTable:
    """An empty table with 2**bits slots, and the memory for ids and bytes that do not fit into a slot."""

    def __init__(self, bits: int) -> None:
        self.bits, self.forks = bits, _forks
        self.slots = zeroed_words(4 << bits)
        self.long_slots = zeroed_words(4 << (bits - LONG_LESS))
        pool, arena = (1 << (bits + POOL_MORE)) + PADDING, (1 << (bits + ARENA_MORE)) + PADDING
        self.pool, self.arena = zeroed_arrays((np.uint32, pool), (np.uint8, arena))
        self.filled = np.zeros(layout.N_FILLED, dtype=np.uint64)
        self.filled[layout.BITS] = bits
        if bits >= LARGE_BITS:
            _large.add(self)

    @property
    def usable(self) -> bool:
        """Whether it was made in this process and not before a fork."""
        return self.forks == _forks


def least_bits(tokens: int, long_tokens: int, long_bytes: int) -> int:
    """Return log2 of the slots of the smallest table that these tokens fill to at most a half."""
    bits = SMALL_BITS
    while (tokens << 1 > 1 << bits) or (long_tokens << 1 > 1 << (bits - LONG_LESS)) or (long_bytes > 1 << (bits + 1)):
        bits += 1
    return bits


def bits_after(table: PretokenTable, least: int) -> int:
    """Return the size of the table that replaces a full one. The caller holds the lock `building`."""
    return max(least, LARGE_BITS) if table.bits >= LARGE_BITS or len(_large) < MAX_LARGE else least
