"""Pre-tokenization: cutting text into words before any byte is merged (GPT-2's paper, section 2.2).

No token reaches over such a cut. GPT-2's pattern keeps one space with the word that follows and keeps letters, digits
and signs apart, so that the vocabulary does not fill up with `dog.`, `dog!` and `dog?`.

The patterns speak of letters and numbers, and what is a letter depends on the version of Unicode. The three known
ones follow tiktoken's, whatever version the installed `regex` knows (see `bpe.unicode_classes`). A pattern of your own
means what `regex` says.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from mmap import mmap

import numpy as np
import regex

from bpe import unicode_classes as uc

PATTERNS = {
    "gpt2": r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    # `(?![\s\S])` is the end of the text in every engine of regular expressions; `$` is other things in some
    "cl100k": (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"""
        r"""|\s+(?![\s\S])|\s*[\r\n]|\s+(?!\S)|\s"""
    ),
    "o200k": (
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
        r"""|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
        r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    ),
}
"""The patterns by name: of GPT-2, r50k and p50k; of cl100k (GPT-4); of o200k (GPT-4o). They match every text whole."""

_OTHER_SPELLINGS = {
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""": "gpt2",
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""": "gpt2",
    r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""": "gpt2",
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"""|\s+(?!\S)|\s""": "cl100k",
}

# One character of each class that no pattern treats in a way of its own (as it does `'`, ` `, `/`, `s`)
_STAND_INS = {uc.OTHER: "!", uc.UPPER: "X", uc.LOWER: "x", uc.CASELESS: "ª", uc.MARK: "\u0301", uc.NUMBER: "0"}
_STAND_INS |= {uc.SPACE: "\u3000"}
_CLASSES = {
    uc.UPPER: r"[\p{Lu}\p{Lt}]",
    uc.LOWER: r"\p{Ll}",
    uc.CASELESS: r"[\p{Lm}\p{Lo}]",
    uc.MARK: r"\p{M}",
    uc.NUMBER: r"\p{N}",
    uc.SPACE: r"\s",
}


def name_of(pattern: str | None) -> str | None:
    """The name of a known pattern, given by name or in any of its spellings; None for another one.

    >>> name_of(r"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+")
    'gpt2'
    """
    if pattern is None or pattern in PATTERNS:
        return pattern
    return next((name for name, text in PATTERNS.items() if text == pattern), _OTHER_SPELLINGS.get(pattern))


@cache
def _corrections() -> dict[int, str]:
    """A stand-in of the right class for each character whose class the installed `regex` sees differently."""
    everything = np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    seen = np.zeros(0x110000, np.uint8)
    for number, pattern in _CLASSES.items():
        for run in regex.finditer(pattern + "+", everything):
            seen[run.start() : run.end()] = number
    right = np.frombuffer(uc.class_table(), np.uint8)
    wrong = np.flatnonzero(seen != right)
    return {int(c): _STAND_INS[int(right[c])] for c in wrong}


class Splitter:
    """Splits text by a pattern: a name of `PATTERNS`, a regular expression of yours, or None for no split at all.

    What a pattern of yours does not match is not lost: it makes pre-tokens of its own.

    >>> Splitter("gpt2")("Hello world's  end")
    ['Hello', ' world', "'s", ' ', ' end']
    """

    def __init__(self, pattern: str | None) -> None:
        """Compile; ValueError for what is no regular expression."""
        self.name = name_of(pattern)
        text = PATTERNS[self.name] if self.name is not None else pattern
        try:
            self._pattern = None if text is None else regex.compile(text)
        except regex.error as error:
            raise ValueError(f"pattern: {pattern!r} is no regular expression: {error}") from None

    def __call__(self, text: str) -> list[str]:
        """The pre-tokens of a text; together they are the text."""
        if self._pattern is None:
            return [text] if text else []
        if self.name is None:
            return self._with_gaps(self._pattern, text)
        if not text.isascii():
            stand_ins = _corrections()
            if not stand_ins.keys().isdisjoint(map(ord, set(text))):
                same_places = self._pattern.finditer(text.translate(stand_ins))
                return [text[piece.start() : piece.end()] for piece in same_places]
        found: list[str] = self._pattern.findall(text)
        return found

    @staticmethod
    def _with_gaps(pattern: regex.Pattern[str], text: str) -> list[str]:
        cuts = [0]
        for piece in pattern.finditer(text):
            if piece.group():
                cuts += (piece.start(), piece.end())
        cuts.append(len(text))
        return [text[a:b] for a, b in pairwise(cuts) if a < b]


def safe_cut(data: bytes | mmap, start: int, stop: int) -> int:
    """The last place in data[start:stop] where a sign or letter is followed by a space; -1 where there is none.

    The known patterns end a pre-token there whatever comes before or after, so the two sides can be encoded apart.
    """
    while (place := data.rfind(b" ", start, stop)) > 0:
        # ASCII, or the last byte of a character: of those some are spaces (U+3000), so only letters' scripts count
        if 0x21 <= data[place - 1] < 0x7F or (data[place - 1] >= 0x80 and _ends_in_no_space(data, place)):
            return place
        stop = place
    return -1


def _ends_in_no_space(data: bytes | mmap, stop: int) -> bool:
    """Whether the character beyond ASCII that ends at `stop` is none of the spaces."""
    first = stop - 1
    while first > 0 and 0x80 <= data[first] < 0xC0:
        first -= 1
    return not data[first:stop].decode("utf-8", "replace").isspace()


def safe_cut_text(text: str, start: int, stop: int) -> int:
    """`safe_cut` for a `str`."""
    while (place := text.rfind(" ", start, stop)) > 0:
        if not text[place - 1].isspace():  # also holds \x1c to \x1f, which are no spaces here: fewer cuts, none wrong
            return place
        stop = place
    return -1
