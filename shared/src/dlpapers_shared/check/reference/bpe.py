"""Byte-pair encoding (1508.07909, algorithm 1): encoding and training, with their common mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from dlpapers_shared.check.engine import mistakes

Pair = tuple[int, int]
Merges = Sequence[Pair]
"""Pairs of ids in the order of training: bytes are 0 to 255, and merge k creates id 256 + k."""

ENCODER_MISTAKES = mistakes(
    order={
        "left": "the leftmost pair that can be merged is merged first, instead of the pair that was learned first",
        "longest": "the longest token that fits is taken from the left, without the order of the merges",
        "last": "the pair that was learned last is merged first",
        "frequent": "the most frequent pair of the text is merged first, as in training",
        "right": "of equal pairs the rightmost is merged first",
    },
    passes={
        "once": "each merge is applied to its first occurrence only, in one pass",
        "one": "encoding ends after the first merge",
        "round": "one scan from left to right: merges of merged tokens are not found",
    },
    ids={
        "255": "new ids start at 255 instead of 256",
        "257": "new ids start at 257 instead of 256",
        "0": "new ids start at 0: they collide with those of bytes",
        "none": "the text is not merged: ids are bytes",
    },
    units={"characters": "the ids of characters (ord) instead of those of UTF-8 bytes"},
)


def vocabulary(merges: Merges) -> list[bytes]:
    """Return the bytes of each id."""
    tokens = [bytes([i]) for i in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def encode(
    text: str, merges: Merges, *, order: str = "", passes: str = "", ids: str = "", units: str = ""
) -> list[int]:
    """Return the ids of one pre-token: repeatedly merge the pair that was learned first, everywhere it occurs.

    >>> encode("aaab", [(97, 97), (256, 98)])
    [256, 97, 98]
    """
    rank = {pair: k for k, pair in enumerate(merges)}
    row = [ord(c) for c in text] if units == "characters" else list(text.encode())
    if order == "longest":
        row = _longest(bytes(row), vocabulary(merges))
    elif passes in ("once", "round"):
        row = _once(row, merges) if passes == "once" else _scan(row, rank)
    elif ids != "none":
        row = _merge_all(row, rank, order, limit=1 if passes == "one" else None)
    start = int(ids) if ids.isdigit() else 256
    return [i if i < 256 or units == "characters" else i - 256 + start for i in row]


def _merge_all(row: list[int], rank: Mapping[Pair, int], order: str, limit: int | None) -> list[int]:
    while limit is None or limit > 0:
        known = [(i, pair) for i, pair in enumerate(pairwise(row)) if pair in rank]
        if not known:
            break
        counts = Counter(pairwise(row)) if order == "frequent" else {}
        keys: dict[str, Callable[[tuple[int, Pair]], Any]] = {
            "left": lambda item: (item[0],),
            "last": lambda item: (-rank[item[1]], item[0]),
            "frequent": partial(_by_count, counts),
            "right": lambda item: (rank[item[1]], -item[0]),
        }
        i, pair = min(known, key=keys.get(order, lambda item: (rank[item[1]], item[0])))
        row = [*row[:i], 256 + rank[pair], *row[i + 2 :]]
        limit = None if limit is None else limit - 1
    return row


def _by_count(counts: Mapping[Pair, int], item: tuple[int, Pair]) -> tuple[int, int]:
    return -counts.get(item[1], 0), item[0]


def _longest(data: bytes, tokens: Sequence[bytes]) -> list[int]:
    of = {token: i for i, token in reversed(list(enumerate(tokens)))}
    row, i = [], 0
    while i < len(data):
        end = next(e for e in range(len(data), i, -1) if data[i:e] in of)
        row.append(of[data[i:end]])
        i = end
    return row


def _once(row: list[int], merges: Merges) -> list[int]:
    for k, pair in enumerate(merges):
        pairs = list(pairwise(row))
        if pair in pairs:
            i = pairs.index(pair)
            row = [*row[:i], 256 + k, *row[i + 2 :]]
    return row


def _scan(row: list[int], rank: Mapping[Pair, int]) -> list[int]:
    out, i = [], 0
    while i < len(row):
        if i + 1 < len(row) and (row[i], row[i + 1]) in rank:
            out.append(256 + rank[row[i], row[i + 1]])
            i += 2
        else:
            out.append(row[i])
            i += 1
    return out


TIES = {
    "first": "the pair that occurs first in the corpus",
    "ids": "the pair with the smallest ids, as in Hugging Face tokenizers",
    "bytes": "the pair whose bytes are greatest, as in subword-nmt",
}
"""The tie-breaking rules that trainers use: which of several most frequent pairs is merged."""

TRAINER_MISTAKES = mistakes(
    ties={
        "last": "of equally frequent pairs, the one that occurs last in the corpus",
        "ids largest": "ties by ids: the largest instead of the smallest",
        "bytes smallest": "ties by bytes: the smallest instead of the greatest",
        "bytes prefix": "ties by bytes: a prefix counts as greater",
        "bytes joined": "ties by bytes: the joined bytes are compared instead of the left token first",
    },
    counts={
        "words": "each distinct word counts once, whatever its frequency",
        "apart": "overlapping pairs such as those of 'aaa' are counted once",
        "joined": "pairs across the boundary of two words are counted",
        "rare": "the least frequent pair is merged instead of the most frequent",
        "once": "pairs are counted before the first merge only",
        "length": "the number of bytes of a pair decides before its count",
    },
    merging={
        "first": "a pair is merged at its first occurrence in a word only",
        "right": "overlapping occurrences are merged from the right",
        "above": "pairs that occur only once are not merged",
    },
)


def train(
    words: Mapping[bytes, int], num_merges: int, *, ties: str = "first", counts: str = "", merging: str = ""
) -> list[Pair]:
    """Return the merges of algorithm 1, which counts all pairs again for each merge; fewer if no pair is left.

    words: word -> number of occurrences, in the order of first occurrence. ties: one of TIES, or a mistaken rule.

    >>> train({b"aaabdaaabac": 1}, 3)
    [(97, 97), (256, 97), (257, 98)]
    """
    rows = [(list(word), 1 if counts == "words" else n) for word, n in words.items()]
    tokens = vocabulary([])
    merges: list[Pair] = []
    start: Counter[Pair] = Counter()
    while len(merges) < num_merges:
        found = _count(rows, counts)
        if counts == "once":
            start = start or Counter(found)
            found = Counter({p: start.get(p, 0) for p in found if start.get(p, 0)})
        if merging == "above":
            found = Counter({p: n for p, n in found.items() if n > 1})
        if not found:
            break
        pair = _best(found, ties, counts, tokens)
        merges.append(pair)
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        rows = [(_merged(row, pair, len(tokens) - 1, merging), n) for row, n in rows]
    return merges


def _count(rows: Sequence[tuple[list[int], int]], counts: str) -> Counter[Pair]:
    found: Counter[Pair] = Counter()
    sequences = [([i for row, _ in rows for i in row], 1)] if counts == "joined" else rows
    for row, n in sequences:
        before: Pair | None = None
        for pair in pairwise(row):
            if counts == "apart" and pair == before and pair[0] == pair[1]:
                before = None
                continue
            found[pair] += n
            before = pair
    return found


def _best(found: Counter[Pair], ties: str, counts: str, tokens: Sequence[bytes]) -> Pair:
    best = min(found.values()) if counts == "rare" else max(found.values())
    equal = [pair for pair, n in found.items() if n == best]  # in the order of first occurrence
    if counts == "length":
        return max(found, key=lambda p: (len(tokens[p[0]] + tokens[p[1]]), found[p]))

    def of(pair: Pair) -> tuple[bytes, bytes]:
        return tokens[pair[0]], tokens[pair[1]]

    if ties in ("bytes prefix", "bytes joined"):
        if ties == "bytes joined":
            return max(equal, key=lambda p: (b"".join(of(p)), of(p)))
        return max(equal, key=lambda p: tuple((*t, 256) for t in of(p)))
    if ties == "last":
        return equal[-1]
    return {
        "first": lambda: equal[0],
        "ids": lambda: min(equal),
        "ids largest": lambda: max(equal),
        "bytes": lambda: max(equal, key=of),
        "bytes smallest": lambda: min(equal, key=of),
    }[ties]()


def _merged(row: list[int], pair: Pair, new: int, merging: str) -> list[int]:
    if merging == "right":
        return _merged(row[::-1], (pair[1], pair[0]), new, "")[::-1]
    out, i, done = [], 0, False
    while i < len(row):
        if i + 1 < len(row) and (row[i], row[i + 1]) == pair and not (done and merging == "first"):
            out.append(new)
            i, done = i + 2, True
        else:
            out.append(row[i])
            i += 1
    return out
