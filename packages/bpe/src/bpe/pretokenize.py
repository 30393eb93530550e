"""Pre-tokenization: split text into pre-tokens, which merges never cross (GPT-2, section 2.2).

A **pre-token** is a chunk of text that is encoded on its own. GPT-2's pattern attaches one space to the word after it
and separates letters, digits and punctuation, so that the vocabulary does not fill up with `dog.`, `dog!` and `dog?`.

The patterns use Unicode classes such as \\p{L}, which depend on the Unicode version of `regex`. The three built-in
patterns follow tiktoken's Unicode 16.0, whatever `regex` is installed (see `bpe.unicode_classes`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from mmap import mmap

import numpy as np
import regex

from bpe import unicode_classes as uc
from bpe._common.errors import invalid
from bpe.pattern_syntax import translate

PATTERNS = {
    "gpt2": r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    # `(?![\s\S])` is the end of the text in every regular-expression engine; the meaning of `$` differs
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
"""Built-in patterns: `gpt2` (also r50k and p50k), `cl100k` (GPT-4), `o200k` (GPT-4o). They match every text fully."""

ALIASES = {
    **dict.fromkeys(("gpt-2", "r50k", "p50k", "r50k_base", "p50k_base", "p50k_edit"), "gpt2"),
    **dict.fromkeys(("cl100k_base", "gpt-4", "gpt4", "gpt-3.5-turbo"), "cl100k"),
    **dict.fromkeys(("o200k_base", "o200k_harmony", "gpt-4o", "gpt4o"), "o200k"),
}
"""Names of vocabularies and models -> the pattern that they use. Case is ignored."""

_OTHER_SPELLINGS = {
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""": "gpt2",
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""": "gpt2",
    r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""": "gpt2",
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"""|\s+(?!\S)|\s""": "cl100k",
}
_LOOKS_LIKE_A_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

# One character of each class that no built-in pattern mentions by itself (as they do `'`, ` `, `/` and `s`)
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
    """Return the name of a built-in pattern, given by name, alias or any known spelling; None for another pattern.

    >>> name_of(r"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"), name_of("gpt-4")
    ('gpt2', 'cl100k')
    """
    if pattern is None or pattern in PATTERNS:
        return pattern
    if alias := ALIASES.get(pattern.lower(), pattern.lower() if pattern.lower() in PATTERNS else None):
        return alias
    return next((name for name, text in PATTERNS.items() if text == pattern), _OTHER_SPELLINGS.get(pattern))


def check_pattern(pattern: str | None) -> str | None:
    """Return a pattern in its one form: the name of a built-in one, a regular expression, or None for no split.

    Raises: ValueError for what is not a regular expression, and for a string that looks like a name but is none.
    """
    if pattern is not None and not isinstance(pattern, str):
        raise invalid("pattern", f"be one of {', '.join(PATTERNS)}, a regular expression or None", pattern)
    if (name := name_of(pattern)) is not None or pattern is None:
        return name
    if _LOOKS_LIKE_A_NAME.fullmatch(pattern):
        known = ", ".join([*PATTERNS, *ALIASES])
        raise invalid(
            "pattern", f"be one of {known}, or a regular expression", pattern, f"As a regular expression: (?:{pattern})"
        )
    try:
        regex.compile(translate(pattern, "tiktoken"))
    except regex.error as error:
        raise invalid("pattern", f"be a valid regular expression ({error})", pattern) from None
    return pattern


# For other patterns: characters that are not ASCII, because such a pattern may mention any ASCII character. What
# Unicode 16.0 does not assign becomes a noncharacter, which no version assigns.
_FOREIGN_STAND_INS = {
    uc.OTHER: "\ufdd0",
    uc.UPPER: "À",
    uc.LOWER: "þ",
    uc.CASELESS: "ª",
    uc.MARK: "\u0301",
    uc.NUMBER: "²",
}
_FOREIGN_STAND_INS |= {uc.SPACE: "\u3000"}


def corrector_of(pattern: str) -> Corrector | None:
    """Return what makes a translated pattern independent of the Unicode version of `regex`.

    A pattern that names characters beyond ASCII would not find them in the corrected text, so it gets none.
    """
    return Corrector(foreign=True) if pattern.isascii() else None


@cache
def _corrections(*, foreign: bool = False) -> dict[int, str]:
    """Return a stand-in of the right class for each character that the installed `regex` classifies differently."""
    everything = np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    installed = np.zeros(0x110000, np.uint8)
    for number, pattern in _CLASSES.items():
        for run in regex.finditer(pattern + "+", everything):
            installed[run.start() : run.end()] = number
    right = np.frombuffer(uc.class_table(), np.uint8)
    wrong = np.flatnonzero(installed != right)
    stand_ins = _FOREIGN_STAND_INS if foreign else _STAND_INS
    return {int(c): stand_ins[int(right[c])] for c in wrong}


@dataclass(frozen=True)
class Corrector:
    """Replace the characters that the installed `regex` classifies differently.

    The result has the same length, and the patterns match it as they should match the text. foreign: for patterns other
    than the built-in ones.
    """

    foreign: bool

    def __call__(self, text: str) -> str:
        """Return the text to match."""
        if text.isascii():
            return text
        stand_ins = _corrections(foreign=self.foreign)
        if not stand_ins.keys().isdisjoint(map(ord, set(text))):
            return text.translate(stand_ins)
        return text


class Splitter:
    """Split text into pre-tokens by a built-in pattern, your own regular expression, or not at all (None).

    Text that your pattern does not match is kept: it forms pre-tokens of its own. `\\w`, `\\d`, `\\b` and `$` mean what
    they mean in tiktoken (see `bpe.pattern_syntax`).

    >>> Splitter("gpt2")("Hello world's  end")
    ['Hello', ' world', "'s", ' ', ' end']
    """

    def __init__(self, pattern: str | None) -> None:
        """Compile the pattern. Raises: ValueError for what is not a pattern (see `check_pattern`)."""
        pattern = check_pattern(pattern)
        self.name = name_of(pattern)
        if pattern is None:
            self._pattern, self._corrected = None, None
        elif self.name is not None:
            self._pattern, self._corrected = regex.compile(PATTERNS[self.name]), Corrector(foreign=False)
        else:
            text = translate(pattern, "tiktoken")
            self._pattern = regex.compile(text)
            self._corrected = corrector_of(text)

    def __call__(self, text: str) -> list[str]:
        """Return the pre-tokens of a text. They concatenate to the text."""
        if self._pattern is None:
            return [text] if text else []
        matched = self._corrected(text) if self._corrected is not None else text
        if self.name is None:
            return self._with_gaps(self._pattern, text, matched)
        if matched is not text:
            return [text[match.start() : match.end()] for match in self._pattern.finditer(matched)]
        pretokens: list[str] = self._pattern.findall(text)
        return pretokens

    @staticmethod
    def _with_gaps(pattern: regex.Pattern[str], text: str, matched: str) -> list[str]:
        """Split `text` where the pattern splits `matched`; what it does not match forms pre-tokens, too."""
        cuts = [0]
        for match in pattern.finditer(matched):
            if match.group():
                cuts += (match.start(), match.end())
        cuts.append(len(text))
        return [text[a:b] for a, b in pairwise(cuts) if a < b]


def safe_cut(data: bytes | mmap, start: int, stop: int) -> int:
    """Return the last offset in data[start:stop] at which a space follows a non-space, or -1.

    The built-in patterns end a pre-token there, whatever comes before or after. So both sides can be encoded apart.
    """
    while (offset := data.rfind(b" ", start, stop)) > 0:
        # ASCII, or the end of a longer character, some of which are spaces themselves (U+3000)
        if 0x21 <= data[offset - 1] < 0x7F or (data[offset - 1] >= 0x80 and not _space_ends_at(data, offset)):
            return offset
        stop = offset
    return -1


def _space_ends_at(data: bytes | mmap, stop: int) -> bool:
    """Return whether the character that ends at `stop`, which is not ASCII, is a space."""
    first = stop - 1
    while first > 0 and 0x80 <= data[first] < 0xC0:
        first -= 1
    return data[first:stop].decode("utf-8", "replace").isspace()


def safe_cut_text(text: str, start: int, stop: int) -> int:
    """Return what `safe_cut` does, for a str."""
    while (offset := text.rfind(" ", start, stop)) > 0:
        if not text[offset - 1].isspace():  # true for \x1c to \x1f, which are no spaces here: fewer cuts, all safe
            return offset
        stop = offset
    return -1
