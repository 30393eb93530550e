"""Learn merges from counts of pre-tokens, compiled: the fast twin of `bpe.training.merges`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bpe._common.errors import check_choice, check_integer
from bpe.fast import struct_layout as layout
from bpe.fast.aot import entry_point
from bpe.fast.buffers import Addresses, grown
from bpe.fast.counter import PretokenArrays, PretokenCounter, count_arrays

RULES = {"first": layout.FIRST, "ids": layout.IDS, "bytes": layout.BYTES}
MERGES_PER_STEP = 256  # between two reports of progress, and between two chances to interrupt


def train(
    counts: Mapping[bytes, int] | PretokenCounter | PretokenArrays,
    num_merges: int,
    ties: str = "first",
    min_frequency: int = 1,
    progress: Callable[[int], None] | None = None,
    max_token_length: int | None = None,
) -> list[tuple[int, int]]:
    """Return the merges as pairs of ids: bytes are 0 to 255, merge k creates id 256 + k. Fewer if no pair is left.

    Args:
        counts: pre-token -> number of occurrences, in the order of first occurrence; or a counter, or its arrays.
        num_merges: the largest number of merges.
        ties: which of several most frequent pairs is merged: `first` in the corpus, smallest `ids`, greatest `bytes`.
        min_frequency: pairs that occur less often are not merged.
        progress: called with the number of merges done.
        max_token_length: longest token in bytes that a merge may form; None for no limit.

    >>> train({b"aaabdaaabac": 1}, 3)
    [(97, 97), (256, 97), (257, 98)]
    """
    check_choice("ties", ties, RULES)
    check_integer("min_frequency", min_frequency, 1)
    tables = _TrainingTables(counts, num_merges)
    tables.state[layout.LONGEST_TOKEN] = 2**32 if max_token_length is None else min(max_token_length, 2**32)
    done = 0
    while done < num_merges:
        until = min(done + MERGES_PER_STEP, num_merges)
        done = tables.learn(RULES[ties], until, min(min_frequency, 2**63 - 1))
        if progress is not None:
            progress(done)
        if done < until:
            break
    return tables.merges()


class _TrainingTables:
    """The memory of one training run."""

    def __init__(self, counts: Mapping[bytes, int] | PretokenCounter | PretokenArrays, num_merges: int) -> None:
        data, ends, weight = count_arrays(counts)
        size = len(data) + len(ends) + 2  # a separator before each pre-token and after the last
        if size >= 1 << 32:
            raise ValueError(f"the distinct pre-tokens must have at most 4 billion bytes, got {len(data)}")
        most = min(num_merges, len(data))  # each merge shortens some pre-token
        symbols = 256 + max(most, 0)
        self.state = np.zeros(layout.N_TRAIN_STATE, dtype=np.uint64)
        self.text = np.empty(size, dtype=np.uint8)
        # by position: start, finish, word
        self.by_position = [np.empty(size, dtype=np.uint32) for _ in range(3)]
        # by symbol: length, example
        self.by_symbol = [np.zeros(symbols, dtype=np.uint32) for _ in range(2)]
        self.positions = np.empty(2 * size + 1024, dtype=np.uint32)
        # the occurrences of the pair that is merged: position and symbol of the neighbor, on either side
        self.pair_occurrences = [np.empty(size, dtype=np.uint32) for _ in range(4)]
        # its distinct neighbors and how often they occur, on either side
        self.distinct = [np.zeros(symbols, dtype=np.uint32) for _ in range(4)]
        self.sums = [np.zeros(symbols, dtype=np.uint64) for _ in range(2)]
        self.learned = np.zeros(symbols, dtype=np.uint64)
        self.weight = np.append(weight, np.uint64(0))
        self.pairs = np.empty(4 << 17, dtype=np.uint64)
        self._make_table()
        self._connect()
        entry_point("lay_out")(*self.addresses.arguments, data.ctypes.data, ends.ctypes.data, len(ends))

    def _make_table(self) -> None:
        """Allocate a hash table and a heap for as many pairs as `pairs` has room for."""
        room = len(self.pairs) // 4
        bits = (2 * room).bit_length() - 1
        self.table = np.zeros(1 << bits, dtype=np.uint64)
        self.heap = [np.empty(room, dtype=dtype) for dtype in (np.uint32, np.uint64, np.uint64)]
        self.state[layout.TABLE_SIZE] = bits

    def _connect(self) -> None:
        """Tell the kernels the current addresses and sizes."""
        self.state[layout.PAIR_ROOM] = len(self.pairs) // 4
        self.state[layout.POSITION_ROOM] = len(self.positions)
        u32 = [*self.by_position, *self.by_symbol, self.positions, *self.pair_occurrences, *self.distinct]
        self.addresses = Addresses(
            [self.text],
            [*u32, self.heap[0]],
            [self.state, self.weight, self.pairs, self.table, *self.sums, *self.heap[1:], self.learned],
        )

    def learn(self, rule: int, until: int, min_frequency: int) -> int:
        """Merge until there are `until` merges or no pair is left. Returns the number of merges."""
        while status := entry_point("train")(*self.addresses.arguments, rule, until, min_frequency):
            if status == layout.TRAIN_NEEDS_PAIRS:
                self.pairs = grown(self.pairs, 2 * len(self.pairs))
                heap = self.heap
                self._make_table()
                for new, old in zip(self.heap, heap, strict=True):
                    new[: len(old)] = old
                self._connect()
                entry_point("rebuild_table")(*self.addresses.arguments)
            else:
                self.positions = grown(self.positions, 2 * len(self.positions))
                self._connect()
        return int(self.state[layout.MERGES])

    def merges(self) -> list[tuple[int, int]]:
        """Return all merges so far."""
        learned = self.learned[: int(self.state[layout.MERGES])]
        left, right = learned >> np.uint64(32), learned & np.uint64(0xFFFFFFFF)
        return list(zip(left.tolist(), right.tolist(), strict=True))
