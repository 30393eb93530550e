"""Offsets: which bytes and characters of a text each id covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bpe.arguments import repaired

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """Ids of a text and the part of the text that each covers. All lists have one entry per id."""

    ids: list[int]
    byte_spans: list[tuple[int, int]]
    """Start and end of each id in the UTF-8 bytes of the text."""
    char_spans: list[tuple[int, int]]
    """Start and end in characters. An id that holds part of a character spans the whole character."""


def offsets_of(text: str, ids: list[int], tokens: Sequence[bytes]) -> Encoded:
    """Return the ids with their spans. tokens: the bytes of each id, which concatenate to those of the text."""
    valid = repaired(text)
    data = np.frombuffer(valid.encode(), np.uint8)
    ends = np.cumsum([len(token) for token in tokens], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if ids else ends
    character = np.cumsum((data & 0xC0) != 0x80) - 1  # of each byte
    first, last = character[starts], character[ends - 1] + 1
    if valid is not text:  # a surrogate pair is two characters of `text` and one of `valid`
        offsets = np.concatenate([[0], np.cumsum(_widths(text))])
        first, last = offsets[first], offsets[last]
    return Encoded(ids, _spans(starts, ends), _spans(first, last))


def _widths(text: str) -> list[int]:
    """Return how many characters of `text` each character of `repair_surrogates(text)` stands for."""
    widths, i = [], 0
    while i < len(text):
        pair = 0xD800 <= ord(text[i]) < 0xDC00 and i + 1 < len(text) and 0xDC00 <= ord(text[i + 1]) < 0xE000
        widths.append(2 if pair else 1)
        i += widths[-1]
    return widths


def _spans(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[tuple[int, int]]:
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
