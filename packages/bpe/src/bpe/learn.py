"""Learning merges from pre-token counts — Sennrich, Haddow and Birch (1508.07909), algorithm 1, on bytes.

Algorithm 1 counts all pairs anew for each merge. Only neighbours of the merged pair change, so here the counts are kept
and each merge touches the places where its pair stands, and no other:

- all distinct pre-tokens lie one after another in one linked list of symbols; a place is the number of a byte;
- each pair has its count and its places in ascending order; places that are no longer true are skipped;
- a heap gives the best pair. Counts only fall and first places only move back after a pair has come into being,
  so an entry that is out of date is too good, is found when it comes up, and is put back with its true value.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

Ties = Literal["first", "ids", "bytes"]
Pair = tuple[int, int]


def learn_merges(
    counts: Mapping[bytes, int],
    num_merges: int,
    ties: Ties = "first",
    min_frequency: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Pair]:
    """The merges, as pairs of ids: bytes are 0 to 255, merge k makes id 256 + k. Fewer if the pairs run out.

    Args:
        counts: pre-token -> how often it occurs, in the order in which they were first seen.
        num_merges: how many at most.
        ties: which of several most frequent pairs is merged: the one that occurs `first` in the corpus; the one with
            the smallest `ids`; the one whose `bytes` are greatest, first by the left token.
        min_frequency: pairs that are rarer are not merged.
        progress: called with the number of merges done, now and then.

    >>> learn_merges({b"aaabdaaabac": 1}, 3)
    [(97, 97), (256, 97), (257, 98)]
    """
    corpus = _Corpus(counts)
    key = _tie_key(ties, corpus)
    heap = [(-count, key(pair), pair) for pair, count in corpus.count_of.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while len(merges) < num_merges and heap:
        negative, was, pair = heap[0]
        count = corpus.count_of.get(pair, 0)
        if count < min_frequency or count <= 0:
            heapq.heappop(heap)
            continue
        now = key(pair) if ties == "first" else was
        if -negative != count or now != was:
            heapq.heapreplace(heap, (-count, now, pair))
            continue
        heapq.heappop(heap)
        merges.append(pair)
        for new in corpus.merge(pair):
            heapq.heappush(heap, (-corpus.count_of[new], key(new), new))
        if progress is not None and len(merges) % 64 == 0:
            progress(len(merges))
    if progress is not None:
        progress(len(merges))
    return merges


class _Corpus:
    """The distinct pre-tokens as a linked list of symbols, and every pair's count and places."""

    def __init__(self, counts: Mapping[bytes, int]) -> None:
        text = b"".join(counts)
        self.symbol = list(text)  # of the part that begins at each place; -1 where none does any more
        self.after = list(range(1, len(text) + 1))  # the place of the next part; -1 at a pre-token's end
        self.before = list(range(-1, len(text) - 1))
        self.weight: list[int] = []  # how often the pre-token that the place is in occurs
        self.count_of: dict[Pair, int] = {}
        self.places: dict[Pair, list[int]] = {}
        self.next_place: dict[Pair, int] = {}  # how many of a pair's places are known to be out of date
        self.tokens = [bytes([b]) for b in range(256)]
        for word, count in counts.items():
            start = len(self.weight)
            self.weight += [count] * len(word)
            if word:
                self.before[start], self.after[start + len(word) - 1] = -1, -1
            for i, pair in enumerate(pairwise(word), start):
                self._add(pair, i, count)

    def _add(self, pair: Pair, place: int, weight: int) -> None:
        if pair in self.count_of:
            self.count_of[pair] += weight
            self.places[pair].append(place)
        else:
            self.count_of[pair] = weight
            self.places[pair] = [place]

    def stands_at(self, pair: Pair, place: int) -> bool:
        """Whether the pair is still at a place where it once was."""
        return self.symbol[place] == pair[0] and self.after[place] >= 0 and self.symbol[self.after[place]] == pair[1]

    def first_place(self, pair: Pair) -> int:
        """Where the pair stands first."""
        places = self.places[pair]
        i = self.next_place.get(pair, 0)
        while not self.stands_at(pair, places[i]):
            i += 1
        self.next_place[pair] = i
        return places[i]

    def merge(self, pair: Pair) -> set[Pair]:
        """Join the pair wherever it stands, from left to right; returns the pairs that this brings into being."""
        symbol, after, before, count_of = self.symbol, self.after, self.before, self.count_of
        left, right = pair
        joined = len(self.tokens)
        self.tokens.append(self.tokens[left] + self.tokens[right])
        made: set[Pair] = set()
        for i in self.places.pop(pair):
            if not self.stands_at(pair, i):
                continue
            j = after[i]
            k, h, weight = after[j], before[i], self.weight[i]
            symbol[i], symbol[j], after[i] = joined, -1, k
            if h >= 0:
                count_of[symbol[h], left] -= weight
                self._add((symbol[h], joined), h, weight)
                made.add((symbol[h], joined))
            if k >= 0:
                before[k] = i
                count_of[right, symbol[k]] -= weight
                self._add((joined, symbol[k]), i, weight)
                made.add((joined, symbol[k]))
        del count_of[pair]
        return {new for new in made if count_of[new] > 0}


def _tie_key(ties: Ties, corpus: _Corpus) -> Callable[[Pair], Any]:
    """What is least for the pair that wins a tie."""
    if ties == "first":
        return corpus.first_place
    if ties == "ids":
        return lambda pair: pair
    if ties != "bytes":
        raise ValueError(f"ties: {ties!r} is not one of first, ids, bytes")
    # the greatest pair of byte strings first: bytes in reverse, and an end that sorts behind every byte
    reverse = {b: 255 - b for b in range(256)}

    def reversed_bytes(pair: Pair) -> tuple[str, str]:
        left, right = (corpus.tokens[i].decode("latin-1").translate(reverse) + "\u0100" for i in pair)
        return left, right

    return reversed_bytes
