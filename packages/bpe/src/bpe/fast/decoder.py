"""Ids to bytes: a gather from one block of memory that holds all tokens."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpe.fast.aot import entry_point

SLACK = 16  # bytes that the kernel may read and write past the end


class Decoder:
    """The tokens of a vocabulary by id."""

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        self._size = max(ranks.values()) + 1
        ids = np.fromiter(ranks.values(), dtype=np.int64, count=len(ranks))
        lengths = np.zeros(self._size, dtype=np.uint64)
        lengths[ids] = np.fromiter(map(len, ranks), dtype=np.uint64, count=len(ranks))
        self._offsets = np.zeros(self._size + 1, dtype=np.uint64)
        np.cumsum(lengths, out=self._offsets[1:])
        tokens = sorted(ranks, key=lambda token: ranks[token])
        self._data = b"".join(tokens) + bytes(SLACK)

    def decode(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> bytes:
        """Return the bytes of ids. Raises: KeyError for an id without a token, TypeError for what is not an integer."""
        numbers = self._array(ids)
        arguments = (numbers.ctypes.data, len(numbers), self._offsets.ctypes.data, self._size)
        out = np.empty(entry_point("decoded_size")(*arguments) + SLACK, dtype=np.uint8)
        size = entry_point("decode")(*arguments, self._data, out.ctypes.data)
        if size < 0:
            raise KeyError(int(numbers[-1 - size]))
        return out[:size].tobytes()

    def _array(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint32]:
        """Return ids as the kernel takes them. Raises: KeyError for one that is negative or needs more than 32 bits."""
        if isinstance(ids, np.ndarray):
            if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= self._size):
                raise KeyError(int(ids[(ids < 0) | (ids >= self._size)][0]))
            return np.ascontiguousarray(ids, dtype=np.uint32)
        ids = ids if isinstance(ids, list | tuple) else list(ids)
        try:
            return np.frombuffer(array("I", ids), dtype=np.uint32)
        except OverflowError:
            raise KeyError(next(i for i in ids if not 0 <= i < self._size)) from None
