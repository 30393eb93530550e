"""Counting the pre-tokens of a corpus that need not fit into memory; what is kept are the distinct ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpe.fast import layout
from bpe.fast.layout import BATCH, BLOCK, PADDING
from bpe.fast.machine import entry_point
from bpe.fast.memory import Addresses, class_rows, grown, zeroed_words

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint64]]
"""The distinct pre-tokens one after another in the order first seen, where each ends, and its count."""


class PretokenCounter:
    """Counts pre-tokens of texts as they are added; nothing reaches over the end of a text.

    >>> counter = PretokenCounter("gpt2")
    >>> counter.add(b"a rose is a rose")
    >>> counter.counts()
    {b'a': 1, b' rose': 2, b' is': 1, b' a': 1}
    """

    def __init__(self, pattern: str) -> None:
        if pattern not in layout.PATTERNS:
            raise ValueError(f"pattern: {pattern!r}, accepted are {', '.join(layout.PATTERNS)}")
        self.pattern = pattern
        self._state = np.zeros(layout.N_COUNT_STATE, dtype=np.uint64)
        self._classes = class_rows()
        self._arena = np.zeros(1 << 20, dtype=np.uint8)
        self._slot_of = np.zeros(1 << 15, dtype=np.uint32)
        self._table = zeroed_words(4 << 16)
        self._state[layout.TABLE_BITS] = 16
        self._reserve(BLOCK)

    def _reserve(self, capacity: int) -> None:
        """Scratch for blocks, and so for single pre-tokens, of this many bytes."""
        n = capacity + 2 * PADDING
        self._scratch = [np.zeros(n, dtype=np.uint8) for _ in range(3)]
        self._ends = np.zeros(n, dtype=np.uint32)
        self._slots = np.zeros(BATCH, dtype=np.uint32)
        self._keys = [np.zeros(BATCH + 1, dtype=np.uint64) for _ in range(2)]
        self._state[layout.CAPACITY] = capacity
        self._connect()

    def _connect(self) -> None:
        """Tell the kernels where everything is now, and how much room there is."""
        self._state[layout.WORD_ROOM] = len(self._slot_of)
        self._state[layout.ARENA_ROOM] = len(self._arena)
        self._addresses = Addresses(
            [*self._classes, *self._scratch, self._arena],
            [self._ends, self._slots, self._slot_of],
            [self._state, self._table, *self._keys],
        )

    def add(self, data: bytes) -> None:
        """Count the pre-tokens of one text, given as valid UTF-8."""
        self._state[layout.POSITION] = 0
        while True:
            wanted = entry_point("count")(*self._addresses.arguments, data, len(data), layout.PATTERNS[self.pattern])
            capacity = int(self._state[layout.CAPACITY])
            if wanted == 0:
                break
            if wanted == 1:
                self._reserve(min(8 * capacity, len(data)))
                continue
            if wanted == 2:
                self._slot_of = grown(self._slot_of, 2 * len(self._slot_of) + capacity)
            elif wanted == 3:
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

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint64]]:
        """The distinct pre-tokens one after another in the order first seen, where each ends, and its count."""
        number = int(self._state[layout.WORDS])
        places = np.zeros(number + 1, dtype=np.uint64)
        counts = np.zeros(number, dtype=np.uint64)
        entry_point("words")(*self._addresses.arguments, places.ctypes.data, counts.ctypes.data)
        places[number] = self._state[layout.ARENA_USED]
        return self._arena[: int(places[number])], places[1:], counts

    def counts(self) -> dict[bytes, int]:
        """Pre-token -> count, in the order first seen."""
        arena, ends, counts = self.arrays()
        data, stops = arena.tobytes(), ends.tolist()
        words = [data[begin:end] for begin, end in zip([0, *stops], stops, strict=False)]
        return dict(zip(words, counts.tolist(), strict=True))


def count(data: bytes, pattern: str) -> dict[bytes, int]:
    """Pre-token -> how often it occurs in a text, given as valid UTF-8, in the order first seen."""
    counter = PretokenCounter(pattern)
    counter.add(data)
    return counter.counts()


def count_arrays(counts: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint64]]:
    """What `PretokenCounter.arrays` gives, of a counter or of a mapping from pre-token to count."""
    if isinstance(counts, PretokenCounter):
        return counts.arrays()
    if isinstance(counts, tuple):
        return counts
    lengths = np.fromiter(map(len, counts), dtype=np.uint64, count=len(counts))
    numbers = np.fromiter(counts.values(), dtype=np.uint64, count=len(counts))
    return np.frombuffer(b"".join(counts), dtype=np.uint8), np.cumsum(lengths, dtype=np.uint64), numbers
