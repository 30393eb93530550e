"""The compiled engine: `bpe.fast` behind the interface of `bpe.engines.base`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bpe.fast import NumbaEncoder
from bpe.pretokenize import PATTERNS, Splitter

if TYPE_CHECKING:
    from bpe.engines.base import Ids


class NumbaEngine:
    """Split with compiled code for the built-in patterns and with `regex` for others; merge with compiled code."""

    name: Literal["numba"] = "numba"

    def __init__(
        self, ranks: Mapping[bytes, int], pattern: str | None, split: Callable[[str], list[str]] | None = None
    ) -> None:
        """Build the engine. ranks: token -> id, where a lower id is merged earlier. split: instead of the pattern."""
        built_in = split is None and (pattern is None or pattern in PATTERNS)
        self._split = None if built_in else split or Splitter(pattern)
        self._encoder = NumbaEncoder(ranks, pattern if built_in else None)

    def encode(self, text: str) -> list[int]:
        """Return the ids of an ordinary text."""
        if self._split is None:
            return self._encoder.encode_to_list(text.encode())
        return self.encode_pretokens([pretoken.encode() for pretoken in self._split(text)])

    def encode_array(self, text: str) -> Ids:
        """Return the ids of an ordinary text as an array."""
        if self._split is None:
            return self._encoder.encode(text.encode())
        return self._encode_pretokens([pretoken.encode() for pretoken in self._split(text)])

    def encode_pretokens(self, pretokens: Sequence[bytes]) -> list[int]:
        """Return the ids of pre-tokens that are already split; they may be any bytes."""
        return self._encoder.to_list(self._encode_pretokens(pretokens))

    def _encode_pretokens(self, pretokens: Sequence[bytes]) -> Ids:
        ends = np.cumsum(np.fromiter(map(len, pretokens), np.int64, len(pretokens)))
        return self._encoder.encode_pretokens(b"".join(pretokens), ends)

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        """Return the ids of each text. Threads run in parallel, because compiled code releases the GIL."""
        return [self._encoder.to_list(ids) for ids in self.encode_arrays(texts, num_threads)]

    def encode_arrays(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """Return the ids of each text as an array."""
        if self._split is None:
            return self._encoder.encode_batch(texts, num_threads)
        return [self.encode_array(text) for text in texts]

    def count(self, text: str) -> int:
        """Return the number of ids of a text; they are not stored."""
        return self._encoder.count(text.encode()) if self._split is None else len(self.encode_array(text))

    def decode(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> bytes:
        """Return the bytes of ordinary ids. Raises: KeyError for another id, TypeError for what is not an integer."""
        return self._encoder.decode(ids)
