"""The steps by which a `tokenizer.json` splits text into pre-tokens, with the behavior of the library `tokenizers`.

Each step splits every part that the step before it made. A pattern finds delimiters; the `behavior` says what becomes
of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import regex

from bpe.pattern_syntax import translate
from bpe.pretokenize import Splitter, corrector_of
from bpe.unicode_classes import NUMBER, ranges

Behavior = Literal["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
BEHAVIORS = ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")
Step = Callable[[str], list[str]]
"""A pre-tokenizer: text -> parts."""

Part = tuple[int, int, bool]
"""Start, end, and whether the pattern matches here."""


def parts_of(matches: Iterable[tuple[int, int]], length: int) -> Iterator[Part]:
    """Yield the matches and the gaps between them, in order."""
    done = 0
    for start, stop in matches:
        if done != start:
            yield done, start, False
        yield start, stop, True
        done = stop
    if done != length:
        yield done, length, False


def apply_behavior(parts: Sequence[Part], behavior: Behavior) -> list[tuple[int, int]]:
    """Return the spans that remain of matches and gaps; they may be empty."""
    if behavior == "Isolated":
        return [(start, stop) for start, stop, _ in parts]
    if behavior == "Removed":
        return [(start, stop) for start, stop, is_match in parts if not is_match]
    if behavior == "MergedWithNext":
        mirrored = [(-stop, -start, is_match) for start, stop, is_match in reversed(parts)]
        return [(-stop, -start) for start, stop in reversed(apply_behavior(mirrored, "MergedWithPrevious"))]
    spans: list[tuple[int, int]] = []
    before = False
    for start, stop, is_match in parts:
        joins = is_match == before if behavior == "Contiguous" else is_match and not before
        if joins and spans:
            spans[-1] = spans[-1][0], stop
        else:
            spans.append((start, stop))
        before = is_match
    return spans


@dataclass(frozen=True)
class Split:
    """Split by a regular expression of Oniguruma, or by a fixed text.

    invert: the text between the matches counts as match, and the matches as gaps.
    """

    pattern: str
    is_regex: bool
    behavior: Behavior
    invert: bool

    def __post_init__(self) -> None:
        """Compile. Raises: ValueError for a pattern without an exact translation."""
        try:
            text = translate(self.pattern, "tokenizers") if self.is_regex else re.escape(self.pattern)
            compiled = regex.compile(text)
        except regex.error as error:
            raise ValueError(f"`pattern` must be a valid regular expression ({error}), got {self.pattern!r}") from None
        object.__setattr__(self, "_compiled", compiled)
        object.__setattr__(self, "_corrected", corrector_of(text) or str)

    def __call__(self, text: str) -> list[str]:
        """Return the parts that are not empty."""
        matched: str = self._corrected(text)  # type: ignore[attr-defined]
        parts = [*parts_of(find_all(self._compiled, matched), len(text))]  # type: ignore[attr-defined]
        if self.invert:
            parts = [(start, stop, not is_match) for start, stop, is_match in parts]
        return [text[start:stop] for start, stop in apply_behavior(parts, self.behavior) if start < stop]


def find_all(compiled: Any, text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of all matches as Oniguruma finds them: no empty match where another match has just ended."""
    position, last = 0, -1
    while position <= len(text):
        match = compiled.search(text, position)
        if match is None:
            return
        start, stop = match.span()
        if start == stop == last:
            position = stop + 1
            continue
        yield start, stop
        position = last = stop


_LATER = [range(0x11DE0, 0x11DEA), range(0x16FF4, 0x16FF7)]  # `tokenizers` finds digits of Unicode 17
_NUMBERS = re.compile("[" + "".join(f"\\U{span[0]:08x}-\\U{span[-1]:08x}" for span in [*ranges(NUMBER), *_LATER]) + "]")


@dataclass(frozen=True)
class Digits:
    """Separate numbers from other text; individual: also from each other."""

    individual: bool

    def __call__(self, text: str) -> list[str]:
        """Return the parts that are not empty."""
        parts = [*parts_of((match.span() for match in _NUMBERS.finditer(text)), len(text))]
        spans = apply_behavior(parts, "Isolated" if self.individual else "Contiguous")
        return [text[start:stop] for start, stop in spans]


@dataclass(frozen=True)
class ByteLevel:
    """The last step: a space before each part that lacks one, then GPT-2's pattern. Both are optional."""

    add_prefix_space: bool
    use_regex: bool

    def __post_init__(self) -> None:
        """Compile."""
        object.__setattr__(self, "_split", Splitter("gpt2" if self.use_regex else None))

    def __call__(self, text: str) -> list[str]:
        """Return the pre-tokens."""
        if self.add_prefix_space and not text.startswith(" "):
            text = f" {text}"
        pretokens: list[str] = self._split(text)  # type: ignore[attr-defined]
        return pretokens
