"""Learning merges from counts of pre-tokens, compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bpe.fast import layout
from bpe.fast.counter import Arrays, PretokenCounter, count_arrays
from bpe.fast.machine import entry_point
from bpe.fast.memory import Addresses, grown

RULES = {"first": layout.FIRST, "ids": layout.IDS, "bytes": layout.BYTES}
STEP = 256  # merges between two reports of progress, and between two chances to interrupt


def train(
    counts: Mapping[bytes, int] | PretokenCounter | Arrays,
    num_merges: int,
    ties: str = "first",
    min_frequency: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[int, int]]:
    """The merges, as pairs of ids: bytes are 0 to 255, merge k makes id 256 + k. Fewer if the pairs run out.

    Args:
        counts: pre-token -> how often it occurs, in the order first seen; or a counter of them, or its arrays.
        num_merges: how many at most.
        ties: which of several most frequent pairs is merged: `first` in the corpus, smallest `ids`, greatest `bytes`.
        min_frequency: pairs that are rarer are not merged.
        progress: called with the number of merges done, now and then.

    >>> train({b"aaabdaaabac": 1}, 3)
    [(97, 97), (256, 97), (257, 98)]
    """
    if ties not in RULES:
        raise ValueError(f"ties: {ties!r} is not one of {', '.join(RULES)}")
    training = _Training(counts, num_merges)
    done = 0
    while done < num_merges:
        until = min(done + STEP, num_merges)
        done = training.run(RULES[ties], until, min_frequency)
        if progress is not None:
            progress(done)
        if done < until:
            break
    return training.merges()


class _Training:
    """The memory of one training."""

    def __init__(self, counts: Any, num_merges: int) -> None:
        data, ends, weight = count_arrays(counts)
        size = len(data) + len(ends) + 2  # a separator before each pre-token and after the last
        if size >= 1 << 32:
            raise ValueError(f"counts: the distinct pre-tokens have {len(data)} bytes; at most 4 billion are supported")
        symbols = 256 + max(num_merges, 0)
        self.state = np.zeros(layout.N_TRAIN_STATE, dtype=np.uint64)
        self.text = np.empty(size, dtype=np.uint8)
        # start, finish, word
        self.by_place = [np.empty(size, dtype=np.uint32) for _ in range(3)]
        # length, example
        self.by_symbol = [np.zeros(symbols, dtype=np.uint32) for _ in range(2)]
        self.places = np.empty(2 * size + 1024, dtype=np.uint32)
        # neighbours met in one merge, place and symbol, on either side
        self.met = [np.empty(size, dtype=np.uint32) for _ in range(4)]
        # the distinct ones and their numbers, on either side
        self.distinct = [np.zeros(symbols, dtype=np.uint32) for _ in range(4)]
        self.sums = [np.zeros(symbols, dtype=np.uint64) for _ in range(2)]
        self.learned = np.zeros(symbols, dtype=np.uint64)
        self.weight = np.append(weight, np.uint64(0))
        self.pairs = np.empty(4 << 17, dtype=np.uint64)
        self._make_table()
        self._connect()
        entry_point("lay_out")(*self.addresses.arguments, data.ctypes.data, ends.ctypes.data, len(ends))

    def _make_table(self) -> None:
        """A hash table and a heap for as many pairs as there is room for."""
        room = len(self.pairs) // 4
        bits = (2 * room).bit_length() - 1
        self.table = np.zeros(1 << bits, dtype=np.uint64)
        self.heap = [np.empty(room, dtype=dtype) for dtype in (np.uint32, np.uint64, np.uint64)]
        self.state[layout.TABLE_SIZE] = bits

    def _connect(self) -> None:
        """Tell the kernels where everything is now, and how much room there is."""
        self.state[layout.PAIR_ROOM] = len(self.pairs) // 4
        self.state[layout.PLACE_ROOM] = len(self.places)
        self.addresses = Addresses(
            [self.text],
            [*self.by_place, *self.by_symbol, self.places, *self.met, *self.distinct, self.heap[0]],
            [self.state, self.weight, self.pairs, self.table, *self.sums, *self.heap[1:], self.learned],
        )

    def run(self, rule: int, until: int, min_frequency: int) -> int:
        """Learn until there are so many merges or no pair is left; how many there are."""
        while wanted := entry_point("train")(*self.addresses.arguments, rule, until, min_frequency):
            if wanted == 1:
                self.pairs = grown(self.pairs, 2 * len(self.pairs))
                heap = self.heap
                self._make_table()
                for new, old in zip(self.heap, heap, strict=True):
                    new[: len(old)] = old
                self._connect()
                entry_point("enter_again")(*self.addresses.arguments)
            else:
                self.places = grown(self.places, 2 * len(self.places))
                self._connect()
        return int(self.state[layout.MERGES])

    def merges(self) -> list[tuple[int, int]]:
        """All merges so far."""
        learned = self.learned[: int(self.state[layout.MERGES])]
        left, right = learned >> np.uint64(32), learned & np.uint64(0xFFFFFFFF)
        return list(zip(left.tolist(), right.tolist(), strict=True))
