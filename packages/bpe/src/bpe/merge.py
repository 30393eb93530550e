"""Byte pair encoding of one pre-token — Sennrich, Haddow and Birch (1508.07909), section 3.2, on bytes (GPT-2, 2.2).

Start from single bytes; as long as some neighbours together are a token, join those whose token came first in
training (the lowest rank), the leftmost first. Two ways to the same tokens: a scan for the lowest rank,
quickest for words, and a heap, for pre-tokens of a megabyte.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import pairwise
from typing import Protocol

SCAN_UP_TO = 200
"""Bytes up to which scanning all pairs at each merge is quicker than keeping a heap of them."""


class Generator(Protocol):
    """What BPE-dropout draws from: `random.Random` or `numpy.random.Generator`."""

    def random(self) -> float:
        """A number drawn uniformly from [0, 1)."""


def byte_pair_merge(piece: bytes, ranks: Mapping[bytes, int], below: float = float("inf")) -> list[bytes]:
    """Split a pre-token into tokens.

    Args:
        piece: the bytes of one pre-token.
        ranks: token -> rank; every single byte has to be a token.
        below: only tokens with a rank below this one are made; `below=ranks[t]` on a token t shows what it is made of.

    >>> byte_pair_merge(b"abab!", {b"ab": 256, b"abab": 257})
    [b'abab', b'!']
    """
    if len(piece) > SCAN_UP_TO:
        return _merge_by_heap(piece, ranks, below)
    parts = [piece[i : i + 1] for i in range(len(piece))]
    rank = ranks.get
    pairs = [rank(a + b, below) for a, b in pairwise(parts)]
    while pairs:
        best = min(pairs)
        if best >= below:
            break
        i = pairs.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        del pairs[i]
        if i < len(pairs):
            pairs[i] = rank(parts[i] + parts[i + 1], below)
        if i > 0:
            pairs[i - 1] = rank(parts[i - 1] + parts[i], below)
    return parts


def merge_with_dropout(piece: bytes, ranks: Mapping[bytes, int], dropout: float, generator: Generator) -> list[bytes]:
    """BPE-dropout — Provilkov, Emelianenko and Voita (1910.13267), algorithm 1.

    At every step each possible merge is left out with probability `dropout`, and the best of the others is done;
    the word ends when none is left. Walking through the merges from the best on and tossing for each until one
    stays is the same and needs fewer tosses.
    """
    return _merge_by_heap(piece, ranks, float("inf"), dropout, generator)


def _merge_by_heap(
    piece: bytes, ranks: Mapping[bytes, int], below: float, dropout: float = 0.0, generator: Generator | None = None
) -> list[bytes]:
    """The same merges in O(n log n): a heap of (rank, start, end of the pair) over a linked list of parts.

    A part is known by its first byte: it reaches to `end[start]`, and the part before it starts at `before[start]`.
    """
    n = len(piece)
    end = list(range(1, n + 1))
    before = list(range(-1, n - 1))
    heap: list[tuple[int, int, int]] = []

    def offer(start: int, stop: int) -> None:
        rank = ranks.get(piece[start:stop], below)
        if rank < below:
            heapq.heappush(heap, (int(rank), start, stop))

    for i in range(n - 1):
        offer(i, i + 2)
    left_out: list[tuple[int, int, int]] = []
    while heap:
        pair = heapq.heappop(heap)
        _, start, stop = pair
        middle = end[start]
        if middle == 0 or middle >= stop or end[middle] != stop:
            continue  # one of its two parts has been merged since
        if generator is not None and generator.random() < dropout:
            left_out.append(pair)
            continue
        for again in left_out:  # a new step: every pair may be tossed for once more
            heapq.heappush(heap, again)
        left_out.clear()
        end[start], end[middle] = stop, 0  # 0: no part starts here any more
        if stop < n:
            before[stop] = start
            offer(start, end[stop])
        if start > 0:
            offer(before[start], stop)
    parts, i = [], 0
    while i < n:
        parts.append(piece[i : end[i]])
        i = end[i]
    return parts
