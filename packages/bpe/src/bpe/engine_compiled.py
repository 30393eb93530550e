"""The compiled engine: `bpe.fast` behind the interface of `bpe.engine`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from bpe.engine import Ids
from bpe.fast import NumbaEncoder
from bpe.patterns import PATTERNS, Splitter


class CompiledEngine:
    """Splits by compiled code for the known patterns, by `regex` for another one; merges by compiled code."""

    name: Literal["numba"] = "numba"

    def __init__(self, ranks: Mapping[bytes, int], pattern: str | None) -> None:
        """`ranks`: token -> id, where a lower id is merged earlier."""
        known = pattern is None or pattern in PATTERNS
        self._split = None if known else Splitter(pattern)
        self._encoder = NumbaEncoder(dict(ranks), pattern if known else None)

    def encode(self, text: str) -> list[int]:
        """Ids of an ordinary text."""
        if self._split is None:
            return self._encoder.encode_to_list(text.encode())
        return self.encode_pieces([piece.encode() for piece in self._split(text)])

    def encode_array(self, text: str) -> Ids:
        """The same as an array."""
        if self._split is None:
            return self._encoder.encode(text.encode())
        return self._encode_pieces([piece.encode() for piece in self._split(text)])

    def encode_pieces(self, pieces: Sequence[bytes]) -> list[int]:
        """Ids of pre-tokens that are split already; any bytes."""
        return self._encoder.to_list(self._encode_pieces(pieces))

    def _encode_pieces(self, pieces: Sequence[bytes]) -> Ids:
        ends = np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)))
        return self._encoder.encode_pieces(b"".join(pieces), ends)

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        """Ids of many texts; threads run at once, for compiled code lets go of the interpreter's lock."""
        return [self._encoder.to_list(ids) for ids in self.encode_arrays(texts, num_threads)]

    def encode_arrays(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """The same as arrays."""
        if self._split is None:
            return self._encoder.encode_batch(texts, num_threads)
        return [self.encode_array(text) for text in texts]

    def count(self, text: str) -> int:
        """How many ids a text has; none is stored."""
        return self._encoder.count(text.encode()) if self._split is None else len(self.encode_array(text))

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes of ordinary ids; KeyError for another id."""
        try:
            return self._encoder.decode(ids)
        except TypeError:  # something that is no whole number
            raise KeyError(ids) from None
