"""The interface of an engine.

An engine turns ordinary text into ids. It knows nothing about special tokens, files or the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.uint32]

EngineName = Literal["auto", "python", "numba"]
ENGINES = ("auto", "python", "numba")


class Engine(Protocol):
    """What a tokenizer needs of an engine. Texts hold no surrogates; UnicodeEncodeError says that one does."""

    @property
    def name(self) -> Literal["python", "numba"]:
        """Which engine this is."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of an ordinary text."""

    def encode_array(self, text: str) -> Ids:
        """Return the ids of an ordinary text as an array."""

    def encode_pretokens(self, pretokens: Sequence[bytes]) -> list[int]:
        """Return the ids of pre-tokens that are already split; they may be any bytes."""

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        """Return the ids of each text."""

    def encode_arrays(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """Return the ids of each text as an array."""

    def count(self, text: str) -> int:
        """Return the number of ids of a text."""

    def decode(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> bytes:
        """Return the bytes of ordinary ids. Raises: KeyError for another id, TypeError for what is not an integer."""
