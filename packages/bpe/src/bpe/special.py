"""Special tokens: names such as `<|endoftext|>` that map to one id and that no merge forms.

Untrusted text must not be able to produce special tokens. Therefore, as in tiktoken, `encode` refuses a text that
holds one unless the caller allows it, or asks to encode it as ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from bpe._common.errors import invalid

AllowedSpecial = Literal["all"] | AbstractSet[str]
DisallowedSpecial = Literal["all"] | Collection[str]


@dataclass(frozen=True)
class Trusted:
    """A prompt part that your program wrote: special tokens in it become their ids."""

    text: str


@dataclass(frozen=True)
class Untrusted:
    """A prompt part from outside your program: nothing in it becomes a special token."""

    text: str


@lru_cache(maxsize=64)
def finder(names: frozenset[str]) -> re.Pattern[str]:
    """Return a regular expression that finds any of the names; of two at one position, the longer."""
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or r"(?!)")


def allowed_in(
    text: str, known: AbstractSet[str], allowed_special: AllowedSpecial, disallowed_special: DisallowedSpecial
) -> frozenset[str]:
    """Return the special tokens that may be produced from this text.

    Raises: ValueError if the text holds a disallowed one.
    """
    allowed, disallowed = names_in_use(known, allowed_special, disallowed_special)
    if disallowed and (match := finder(disallowed).search(text)):
        raise not_allowed(match.group(), match.start())
    return allowed


def names_in_use(
    known: AbstractSet[str], allowed_special: AllowedSpecial, disallowed_special: DisallowedSpecial
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the special tokens that are allowed, and the names that a text must not hold."""
    allowed = known if allowed_special == "all" else _names("allowed_special", allowed_special)
    disallowed = known - allowed if disallowed_special == "all" else _names("disallowed_special", disallowed_special)
    return frozenset(allowed & known), frozenset(disallowed)


def not_allowed(name: str, position: int) -> ValueError:
    """Return the error for a disallowed special token. position: -1 if only the normalized text holds it."""
    where = f"at character {position}" if position >= 0 else "once normalized"
    return ValueError(
        f"`text` must not hold the disallowed special token {name!r}, got it {where}. Pass "
        f"allowed_special={{{name!r}}} to encode it as its id, or disallowed_special=() as ordinary text"
    )


def _names(argument: str, value: Collection[str]) -> AbstractSet[str]:
    if isinstance(value, str):  # its characters would be taken for names
        raise invalid(argument, "be 'all' or a set of names", value)
    names = frozenset(value)
    if "" in names or not all(isinstance(name, str) for name in names):
        raise invalid(argument, "be 'all' or a set of names", value)
    return names


def split_at(text: str, names: frozenset[str]) -> Iterator[tuple[str, bool]]:
    """Split a text at special tokens: yield (part, whether it is a special token). Empty parts are omitted."""
    done = 0
    for match in finder(names).finditer(text):
        if done < match.start():
            yield text[done : match.start()], False
        yield match.group(), True
        done = match.end()
    if done < len(text):
        yield text[done:], False


def check_names(special_tokens: Iterable[str]) -> list[str]:
    """Return the names as a list. Raises: ValueError for a single str, an empty name, or a name that is repeated."""
    single: object = special_tokens
    if isinstance(single, str | bytes):
        raise invalid("special_tokens", "be a list of names", special_tokens)
    names = list(special_tokens)
    everything: list[object] = list(names)
    for name in everything:
        if not isinstance(name, str) or not name:
            raise invalid("special_tokens", "hold names that are not empty", name)
    if len(set(names)) != len(names):
        raise invalid("special_tokens", "hold each name once", names)
    return names


def assign_ids(special_tokens: Mapping[str, int] | Sequence[str], first: int) -> dict[str, int]:
    """Return name -> id. A list of names is numbered from `first` on; a mapping keeps its ids."""
    names = check_names(special_tokens)
    if isinstance(special_tokens, Mapping):
        return dict(special_tokens)
    return {name: first + i for i, name in enumerate(names)}
