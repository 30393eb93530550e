"""What every format reads into, and file reading that raises FormatError."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpe._common import atomic
from bpe.errors import FormatError

if TYPE_CHECKING:
    from bpe.pipeline import Pipeline


@dataclass
class Vocabulary:
    """The content of a tokenizer file."""

    ranks: dict[bytes, int]
    """Ordinary token -> id."""
    pattern: str | None
    """The pattern, or None for no split; meaningless if `states_pattern` is False."""
    special_tokens: dict[str, int] = field(default_factory=dict)
    """Special token -> id."""
    states_pattern: bool = True
    """Whether the file says which pattern its vocabulary needs."""
    pipeline: Pipeline | None = None
    """What else happens to a text, for a `tokenizer.json` that states more than a pattern and special tokens."""
    model_max_length: int | None = None
    """Longest input of the model in tokens, if the file states it. Nothing is cut."""


def read_text(path: Path) -> str:
    """Read a UTF-8 file; line ends become \\n. Raises: FormatError if it is not UTF-8, OSError if it cannot be read."""
    try:
        return atomic.read_text(path)
    except ValueError as error:
        raise FormatError(str(error)) from None


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises: FormatError if it is damaged or names a key twice, FileNotFoundError."""
    with path.open("rb"):  # a missing file is an OSError, not a damaged tokenizer
        pass
    try:
        return atomic.read_json(path)
    except ValueError as error:
        raise FormatError(str(error)) from None
