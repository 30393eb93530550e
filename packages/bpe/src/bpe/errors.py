"""The errors of this package. All are ValueErrors, whose text names the argument, what was met and what is accepted."""

from __future__ import annotations


class UnknownTokenError(KeyError, ValueError):
    """An id or a token that the vocabulary does not hold. Also a KeyError, as with tiktoken."""

    def __str__(self) -> str:
        """The message itself; a KeyError would show its repr."""
        return str(self.args[0])


class FormatError(ValueError):
    """A tokenizer's file that is damaged, of another kind, or that contradicts itself."""
