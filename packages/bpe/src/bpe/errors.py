"""Exceptions of this package. All derive from ValueError; messages state the argument, the condition and the value."""

from __future__ import annotations


class UnknownTokenError(KeyError, ValueError):
    """Raised for an id or a token that the vocabulary does not hold. Also a KeyError, as in tiktoken."""

    def __str__(self) -> str:
        """Return the message itself, not its repr as KeyError does."""
        return str(self.args[0])


class FormatError(ValueError):
    """Raised for a tokenizer file that is damaged, unsupported, or contradicts itself."""
