"""Added tokens of a `tokenizer.json`: text that becomes one id before anything is normalized or split.

The matching is that of the library `tokenizers`. Tokens that are not `normalized` are found in the text itself, the
others in the normalized text between them. Of several tokens at one position the longest is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import regex

from bpe.unicode_classes import SPACE, ranges

Segment = int | str
"""The id of an added token, or text between added tokens."""

_WORD = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]")
_SPACES = "".join(chr(point) for span in ranges(SPACE) for point in span)


@dataclass(frozen=True)
class AddedToken:
    """One added token."""

    content: str
    id: int
    special: bool = True
    """Whether it is a special token, which untrusted text must not produce."""
    single_word: bool = False
    """Not found inside a word."""
    lstrip: bool = False
    """Takes the spaces before it."""
    rstrip: bool = False
    """Takes the spaces after it."""
    normalized: bool = False
    """Searched for in the normalized text, in its own normalized form."""


class AddedTokens:
    """Find added tokens in texts."""

    def __init__(self, tokens: Sequence[AddedToken], normalize: Callable[[str], str]) -> None:
        """Prepare the search. Raises: ValueError if two tokens are the same text once normalized, or one is empty."""
        self.tokens = tuple(tokens)
        self.normalize = normalize
        self._plain = _finder({t.content: t for t in tokens if not t.normalized})
        contents = [normalize(t.content) for t in tokens if t.normalized]
        if len(set(contents)) != len(contents) or "" in contents:
            raise ValueError("added tokens must differ and not be empty once they are normalized")
        self._normalized = _finder({normalize(t.content): t for t in tokens if t.normalized})

    def split(self, text: str, allowed: AbstractSet[str]) -> Iterator[Segment]:
        """Yield ids and normalized texts. allowed: the special tokens that are found; other special tokens are text."""
        for segment in _split(text, self._plain, allowed):
            if isinstance(segment, int):
                yield segment
            else:
                yield from _split(self.normalize(segment), self._normalized, allowed)


Finder = tuple[re.Pattern[str], dict[str, AddedToken]] | None


def _finder(tokens: dict[str, AddedToken]) -> Finder:
    if not tokens:
        return None
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))), tokens


def _split(text: str, finder: Finder, allowed: AbstractSet[str]) -> Iterator[Segment]:
    done = 0
    for match in finder[0].finditer(text) if finder else ():
        token = finder[1][match.group()]  # type: ignore[index]
        start, stop = match.span()
        if token.special and token.content not in allowed:
            continue
        if token.single_word and (_WORD.match(text[start - 1 : start]) or _WORD.match(text[stop : stop + 1])):
            continue
        if token.lstrip:
            start = len(text[:start].rstrip(_SPACES))  # may be before `done`, where the token before took them
        if token.rstrip:
            stop = len(text) - len(text[stop:].lstrip(_SPACES))
        if done < start:
            yield text[done:start]
        yield token.id
        done = stop
    if done < len(text):
        yield text[done:]
