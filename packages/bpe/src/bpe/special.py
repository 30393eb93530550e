"""Special tokens: names such as `<|endoftext|>` that stand for one id and that no merge ever makes.

Text from outside must not be able to say them. So, as with tiktoken, `encode` refuses a text that holds one
unless the caller allows it, or asks for it to be read as ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal


@dataclass(frozen=True)
class Trusted:
    """A part of a prompt that the program wrote: special tokens in it are meant."""

    text: str


@dataclass(frozen=True)
class Untrusted:
    """A part of a prompt that came from outside: nothing in it becomes a special token."""

    text: str


@lru_cache(maxsize=64)
def finder(names: frozenset[str]) -> re.Pattern[str]:
    """A search for any of some special tokens; of two that begin at one place the longer is found."""
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or r"(?!)")


def allowed_in(
    text: str,
    known: AbstractSet[str],
    allowed_special: Literal["all"] | AbstractSet[str],
    disallowed_special: Literal["all"] | Collection[str],
) -> frozenset[str]:
    """The special tokens that may be made of this text; ValueError if it holds a disallowed one."""
    allowed = frozenset(known if allowed_special == "all" else allowed_special)
    disallowed = frozenset(known - allowed if disallowed_special == "all" else disallowed_special)
    if disallowed and (met := finder(disallowed).search(text)):
        raise ValueError(
            f"text: it holds the special token {met.group()!r} at character {met.start()}, which is disallowed; pass "
            f"allowed_special={{{met.group()!r}}} to make its id, or disallowed_special=() to read it as ordinary text"
        )
    return allowed & frozenset(known)


def parts(text: str, names: frozenset[str]) -> Iterator[tuple[str, bool]]:
    """Cut a text at special tokens: (part, whether it is one). Empty parts are left out."""
    done = 0
    for met in finder(names).finditer(text):
        if done < met.start():
            yield text[done : met.start()], False
        yield met.group(), True
        done = met.end()
    if done < len(text):
        yield text[done:], False


def numbered(special_tokens: Mapping[str, int] | Sequence[str], first: int) -> dict[str, int]:
    """Special tokens with their ids; a mere list of names is numbered from `first` on."""
    if isinstance(special_tokens, Mapping):
        return dict(special_tokens)
    if isinstance(special_tokens, str):
        raise ValueError(f"special_tokens: {special_tokens!r} is one string; give a list of names")
    if len(set(special_tokens)) != len(special_tokens):
        raise ValueError(f"special_tokens: {list(special_tokens)!r} names one token twice")
    return {name: first + i for i, name in enumerate(special_tokens)}
