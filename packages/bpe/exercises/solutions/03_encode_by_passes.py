"""Solution of exercise 3: one pass from left to right for each merge."""

from itertools import pairwise


def encode_by_passes(word: bytes, merges: list[tuple[int, int]]) -> list[int]:
    """A merge creates only pairs whose merges come later, so "each in order" equals "lowest rank first"."""
    ids = list(word)
    for new, pair in enumerate(merges, start=256):
        i = 0
        while i < len(ids) - 1:
            if (ids[i], ids[i + 1]) == pair:
                ids[i : i + 2] = [new]
            i += 1
    return ids


def _first_occurrence(word: bytes, merges: list[tuple[int, int]]) -> list[int]:
    ids = list(word)
    for new, pair in enumerate(merges, start=256):
        if pair in pairwise(ids):
            i = list(pairwise(ids)).index(pair)
            ids[i : i + 2] = [new]
    return ids


def _reversed(word: bytes, merges: list[tuple[int, int]]) -> list[int]:
    ids = list(word)
    for k in reversed(range(len(merges))):
        i = 0
        while i < len(ids) - 1:
            if (ids[i], ids[i + 1]) == merges[k]:
                ids[i : i + 2] = [256 + k]
            i += 1
    return ids


WRONG = [{"encode_by_passes": _first_occurrence}, {"encode_by_passes": _reversed}]
