"""Byte pair encoding of one pre-token: Sennrich, Haddow and Birch (1508.07909), section 3.2, on bytes (GPT-2, 2.2).

Start from single bytes. While two neighbors together are a token, merge the pair whose token was learned first (the
lowest rank); of equal pairs, the leftmost. Two implementations give the same tokens: a scan for the lowest rank, which
is fastest for words, and a heap, which keeps pre-tokens of a megabyte at O(n log n).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import pairwise
from typing import Protocol

MAX_SCAN_BYTES = 200
"""Length in bytes up to which scanning all pairs at each merge is faster than maintaining a heap."""


class Generator(Protocol):
    """Source of random numbers for BPE-dropout: `random.Random` or `numpy.random.Generator`."""

    def random(self) -> float:
        """Return a number sampled uniformly from [0, 1)."""


def byte_pair_merge(pretoken: bytes, ranks: Mapping[bytes, int], below: float = float("inf")) -> list[bytes]:
    """Split a pre-token into tokens.

    Args:
        pretoken: the bytes of one pre-token.
        ranks: token -> rank. Every single byte must be a token.
        below: only tokens with a rank below this one are formed. `below=ranks[t]` on a token t gives its parts.

    >>> byte_pair_merge(b"abab!", {b"ab": 256, b"abab": 257})
    [b'abab', b'!']
    """
    if len(pretoken) > MAX_SCAN_BYTES:
        return _merge_with_heap(pretoken, ranks, below)
    parts = [pretoken[i : i + 1] for i in range(len(pretoken))]
    rank = ranks.get
    pair_ranks = [rank(a + b, below) for a, b in pairwise(parts)]
    while pair_ranks:
        best = min(pair_ranks)
        if best >= below:
            break
        i = pair_ranks.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        del pair_ranks[i]
        if i < len(pair_ranks):
            pair_ranks[i] = rank(parts[i] + parts[i + 1], below)
        if i > 0:
            pair_ranks[i - 1] = rank(parts[i - 1] + parts[i], below)
    return parts


def merge_with_dropout(
    pretoken: bytes, ranks: Mapping[bytes, int], dropout: float, generator: Generator
) -> list[bytes]:
    """Split a pre-token with BPE-dropout: Provilkov, Emelianenko and Voita (1910.13267), algorithm 1.

    At every step each candidate merge is dropped with probability `dropout`, and the best remaining one is applied.
    The split ends when none remains. Equivalently, scan the candidates in rank order and apply the first that is
    kept; this needs fewer random numbers.
    """
    return _merge_with_heap(pretoken, ranks, float("inf"), dropout, generator)


def _merge_with_heap(
    pretoken: bytes, ranks: Mapping[bytes, int], below: float, dropout: float = 0.0, generator: Generator | None = None
) -> list[bytes]:
    """Merge in O(n log n): a heap of (rank, start, end of the pair) over a linked list of parts.

    A part is identified by its first byte: it ends at `end[start]`, and the part before it starts at `before[start]`.
    """
    n = len(pretoken)
    end = list(range(1, n + 1))
    before = list(range(-1, n - 1))
    heap: list[tuple[int, int, int]] = []

    def push(start: int, stop: int) -> None:
        rank = ranks.get(pretoken[start:stop], below)
        if rank < below:
            heapq.heappush(heap, (int(rank), start, stop))

    for i in range(n - 1):
        push(i, i + 2)
    dropped: list[tuple[int, int, int]] = []
    while heap:
        pair = heapq.heappop(heap)
        _, start, stop = pair
        middle = end[start]
        if middle == 0 or middle >= stop or end[middle] != stop:
            continue  # outdated: one of its two parts has been merged since
        if generator is not None and generator.random() < dropout:
            dropped.append(pair)
            continue
        for candidate in dropped:  # a new step: every candidate may be kept or dropped again
            heapq.heappush(heap, candidate)
        dropped.clear()
        end[start], end[middle] = stop, 0  # 0: no part starts at `middle` any longer
        if stop < n:
            before[stop] = start
            push(start, end[stop])
        if start > 0:
            push(before[start], stop)
    parts, i = [], 0
    while i < n:
        parts.append(pretoken[i : end[i]])
        i = end[i]
    return parts
