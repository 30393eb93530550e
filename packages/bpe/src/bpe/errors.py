"""The errors of this package. All are ValueErrors, whose text names the argument, what was met and what is accepted."""

from __future__ import annotations


class UnknownTokenError(KeyError, ValueError):
    """An id or a token that the vocabulary does not hold. Also a KeyError, as with tiktoken."""

    def __str__(self) -> str:
        """The message itself; a KeyError would show its repr."""
        return str(self.args[0])


class FormatError(ValueError):
    """A tokenizer's file that is damaged, of another kind, or that contradicts itself."""


def encodable(text: str) -> bool:
    """Whether UTF-8 can hold a text: it has no lone surrogates."""
    return not any(0xD800 <= ord(c) < 0xE000 for c in text)


def surrogate_error(text: str) -> ValueError:
    """The error for a text that is not `encodable`."""
    place = next(i for i, c in enumerate(text) if 0xD800 <= ord(c) < 0xE000)
    return ValueError(
        f"text: character {place} is the lone surrogate U+{ord(text[place]):04X}, which UTF-8 cannot hold"
    )
