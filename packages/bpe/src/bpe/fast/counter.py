"""Count the pre-tokens of a corpus that need not fit into memory; only the distinct ones are stored."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bpe._common.errors import check_choice
from bpe.fast import struct_layout as layout
from bpe.fast.aot import entry_point
from bpe.fast.buffers import Addresses, class_rows, grown, zeroed_words
from bpe.fast.struct_layout import BATCH, BLOCK, PADDING

PretokenArrays = tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint64]]
"""The distinct pre-tokens concatenated in the order of first occurrence, the end of each, and its count."""

FIRST_TABLE_BITS = 16  # log2 of the first number of slots; the table doubles when it is half full


class PretokenCounter:
    """Count the pre-tokens of texts as they are added. No pre-token spans two texts.

    >>> counter = PretokenCounter("gpt2")
    >>> counter.add(b"a rose is a rose")
    >>> counter.counts()
    {b'a': 1, b' rose': 2, b' is': 1, b' a': 1}
    """

    def __init__(self, pattern: str) -> None:
        check_choice("pattern", pattern, layout.PATTERNS)
        self.pattern = pattern
        self._state = np.zeros(layout.N_COUNT_STATE, dtype=np.uint64)
        self._classes = class_rows()
        self._arena = np.zeros(1 << 20, dtype=np.uint8)
        self._slot_of = np.zeros(1 << 15, dtype=np.uint32)
        self._table = zeroed_words(4 << FIRST_TABLE_BITS)
        self._state[layout.TABLE_BITS] = FIRST_TABLE_BITS
        self._reserve(BLOCK)

    def _reserve(self, capacity: int) -> None:
        """Allocate buffers for blocks, and so for single pre-tokens, of this many bytes."""
        n = capacity + 2 * PADDING
        self._buffers = [np.zeros(n, dtype=np.uint8) for _ in range(3)]
        self._ends = np.zeros(n, dtype=np.uint32)
        self._slots = np.zeros(BATCH, dtype=np.uint32)
        self._keys = [np.zeros(BATCH + 1, dtype=np.uint64) for _ in range(2)]
        self._state[layout.CAPACITY] = capacity
        self._connect()

    def _connect(self) -> None:
        """Tell the kernels the current addresses and sizes."""
        self._state[layout.WORD_ROOM] = len(self._slot_of)
        self._state[layout.ARENA_ROOM] = len(self._arena)
        self._addresses = Addresses(
            [*self._classes, *self._buffers, self._arena],
            [self._ends, self._slots, self._slot_of],
            [self._state, self._table, *self._keys],
        )

    def add(self, data: bytes) -> None:
        """Count the pre-tokens of one text, given as valid UTF-8."""
        self._state[layout.POSITION] = 0
        while True:
            status = entry_point("count")(*self._addresses.arguments, data, len(data), layout.PATTERNS[self.pattern])
            capacity = int(self._state[layout.CAPACITY])
            if status == layout.COUNT_DONE:
                break
            if status == layout.COUNT_NEEDS_BUFFERS:
                self._reserve(min(8 * capacity, len(data)))
                continue
            if status == layout.COUNT_NEEDS_WORDS:
                self._slot_of = grown(self._slot_of, 2 * len(self._slot_of) + capacity)
            elif status == layout.COUNT_NEEDS_ARENA:
                self._arena = grown(self._arena, 2 * len(self._arena) + capacity)
            else:
                old = self._table
                self._table = zeroed_words(2 * len(old))
                self._state[layout.TABLE_BITS] += np.uint64(1)
                self._connect()
                entry_point("rehash")(*self._addresses.arguments, old.ctypes.data)
            self._connect()
        if capacity > BLOCK:
            self._reserve(BLOCK)

    def arrays(self) -> PretokenArrays:
        """Return the distinct pre-tokens concatenated in the order of first occurrence, their ends and counts."""
        number = int(self._state[layout.WORDS])
        offsets = np.zeros(number + 1, dtype=np.uint64)
        counts = np.zeros(number, dtype=np.uint64)
        entry_point("words")(*self._addresses.arguments, offsets.ctypes.data, counts.ctypes.data)
        offsets[number] = self._state[layout.ARENA_USED]
        return self._arena[: int(offsets[number])], offsets[1:], counts

    def counts(self) -> dict[bytes, int]:
        """Return pre-token -> count, in the order of first occurrence."""
        arena, ends, counts = self.arrays()
        data = arena.tobytes()
        words = [data[start:end] for start, end in pairwise([0, *ends.tolist()])]
        return dict(zip(words, counts.tolist(), strict=True))


def count(data: bytes, pattern: str) -> dict[bytes, int]:
    """Return pre-token -> number of occurrences in a text, given as valid UTF-8, in the order of first occurrence."""
    counter = PretokenCounter(pattern)
    counter.add(data)
    return counter.counts()


def count_arrays(counts: Mapping[bytes, int] | PretokenCounter | PretokenArrays) -> PretokenArrays:
    """Return the arrays of a counter, or of a mapping from pre-token to count."""
    if isinstance(counts, PretokenCounter):
        return counts.arrays()
    if isinstance(counts, tuple):
        return counts
    lengths = np.fromiter(map(len, counts), dtype=np.uint64, count=len(counts))
    numbers = np.fromiter(counts.values(), dtype=np.uint64, count=len(counts))
    return np.frombuffer(b"".join(counts), dtype=np.uint8), np.cumsum(lengths, dtype=np.uint64), numbers
