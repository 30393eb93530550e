"""Learn merges from pre-token counts: Sennrich, Haddow and Birch (1508.07909), algorithm 1, on bytes.

This is the textbook version; `bpe.fast.trainer` is its compiled twin. Algorithm 1 recounts all pairs for each merge.
Only neighbors of the merged pair change, so this version keeps the counts and each merge updates only the positions
at which its pair occurs:

- All distinct pre-tokens form one linked list of symbols; a position is the index of a byte.
- Each pair has a count and its positions in ascending order; outdated positions are skipped.
- A heap gives the best pair. After a pair has been formed, its count only falls and its first position only moves
  back. So an outdated entry ranks too high, reaches the top, and is pushed again with its current values.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

from bpe._common.errors import check_choice, check_integer

Ties = Literal["first", "ids", "bytes"]
TIES = ("first", "ids", "bytes")
Pair = tuple[int, int]
STEPS_PER_REPORT = 64
"""Merges between two calls of `progress`."""


def learn_merges(
    counts: Mapping[bytes, int],
    num_merges: int,
    ties: Ties = "first",
    min_frequency: int = 1,
    progress: Callable[[int], None] | None = None,
    max_token_length: int | None = None,
) -> list[Pair]:
    """Return the merges as pairs of ids: bytes are 0 to 255, merge k creates id 256 + k. Fewer if no pair is left.

    Args:
        counts: pre-token -> number of occurrences, in the order of first occurrence.
        num_merges: the largest number of merges.
        ties: which of several most frequent pairs is merged: the one that occurs `first` in the corpus; the one with
            the smallest `ids`; the one whose `bytes` are greatest, comparing the left token first.
        min_frequency: pairs that occur less often are not merged.
        progress: called with the number of merges done.
        max_token_length: longest token in bytes that a merge may form; None for no limit.

    >>> learn_merges({b"aaabdaaabac": 1}, 3)
    [(97, 97), (256, 97), (257, 98)]
    """
    check_choice("ties", ties, TIES)
    check_integer("min_frequency", min_frequency, 1)
    corpus = _Corpus(counts)
    longest = float("inf") if max_token_length is None else max_token_length
    key = _tie_key(ties, corpus)
    heap = [(-count, key(pair), pair) for pair, count in corpus.count_of.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while len(merges) < num_merges and heap:
        negative, tie, pair = heap[0]
        count = corpus.count_of.get(pair, 0)
        if count < min_frequency or count <= 0 or corpus.token_length(pair) > longest:
            heapq.heappop(heap)
            continue
        current_tie = key(pair) if ties == "first" else tie
        if -negative != count or current_tie != tie:
            heapq.heapreplace(heap, (-count, current_tie, pair))
            continue
        heapq.heappop(heap)
        merges.append(pair)
        for new in corpus.merge(pair):
            heapq.heappush(heap, (-corpus.count_of[new], key(new), new))
        if progress is not None and len(merges) % STEPS_PER_REPORT == 0:
            progress(len(merges))
    if progress is not None:
        progress(len(merges))
    return merges


class _Corpus:
    """The distinct pre-tokens as a linked list of symbols, and the count and positions of every pair."""

    def __init__(self, counts: Mapping[bytes, int]) -> None:
        text = b"".join(counts)
        self.symbol = list(text)  # the symbol that starts at each position; -1 where none does any longer
        self.after = list(range(1, len(text) + 1))  # position of the next symbol; -1 at the end of a pre-token
        self.before = list(range(-1, len(text) - 1))
        self.weight: list[int] = []  # number of occurrences of the pre-token that a position belongs to
        self.count_of: dict[Pair, int] = {}
        self.positions: dict[Pair, list[int]] = {}
        self.first_valid: dict[Pair, int] = {}  # how many positions at the start of a pair's list are outdated
        self.tokens = [bytes([b]) for b in range(256)]
        for word, count in counts.items():
            start = len(self.weight)
            self.weight += [count] * len(word)
            if word:
                self.before[start], self.after[start + len(word) - 1] = -1, -1
            for i, pair in enumerate(pairwise(word), start):
                self._add(pair, i, count)

    def _add(self, pair: Pair, position: int, weight: int) -> None:
        if pair in self.count_of:
            self.count_of[pair] += weight
            self.positions[pair].append(position)
        else:
            self.count_of[pair] = weight
            self.positions[pair] = [position]

    def is_at(self, pair: Pair, position: int) -> bool:
        """Return whether the pair still occurs at a position where it once did."""
        symbol, after = self.symbol, self.after[position]
        return symbol[position] == pair[0] and after >= 0 and symbol[after] == pair[1]

    def first_position(self, pair: Pair) -> int:
        """Return the first position at which the pair occurs."""
        positions = self.positions[pair]
        i = self.first_valid.get(pair, 0)
        while not self.is_at(pair, positions[i]):
            i += 1
        self.first_valid[pair] = i
        return positions[i]

    def token_length(self, pair: Pair) -> int:
        """Return the length in bytes of the token that a pair forms."""
        return len(self.tokens[pair[0]]) + len(self.tokens[pair[1]])

    def merge(self, pair: Pair) -> set[Pair]:
        """Merge the pair wherever it occurs, from left to right. Returns the pairs that this creates."""
        symbol, after, before, count_of = self.symbol, self.after, self.before, self.count_of
        left, right = pair
        merged = len(self.tokens)
        self.tokens.append(self.tokens[left] + self.tokens[right])
        created: set[Pair] = set()
        for i in self.positions.pop(pair):
            if not self.is_at(pair, i):
                continue
            j = after[i]
            k, h, weight = after[j], before[i], self.weight[i]
            symbol[i], symbol[j], after[i] = merged, -1, k
            if h >= 0:
                count_of[symbol[h], left] -= weight
                self._add((symbol[h], merged), h, weight)
                created.add((symbol[h], merged))
            if k >= 0:
                before[k] = i
                count_of[right, symbol[k]] -= weight
                self._add((merged, symbol[k]), i, weight)
                created.add((merged, symbol[k]))
        del count_of[pair]
        return {new for new in created if count_of[new] > 0}


def _tie_key(ties: Ties, corpus: _Corpus) -> Callable[[Pair], Any]:
    """Return the function whose value is least for the pair that wins a tie."""
    if ties == "first":
        return corpus.first_position
    if ties == "ids":
        return lambda pair: pair
    # the greatest pair of byte strings first: bytes in reverse, and an end that sorts after every byte
    reverse = {b: 255 - b for b in range(256)}

    def reversed_bytes(pair: Pair) -> tuple[str, str]:
        left, right = (corpus.tokens[i].decode("latin-1").translate(reverse) + "\u0100" for i in pair)
        return left, right

    return reversed_bytes
