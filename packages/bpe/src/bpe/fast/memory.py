"""Arrays as the kernels take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpe.unicode_classes import class_table


class Addresses:
    """Arrays, and the three lists of addresses (of bytes, 32-bit and 64-bit words) by which a kernel finds them."""

    def __init__(self, u8: Sequence[Any], u32: Sequence[Any], u64: Sequence[Any]) -> None:
        self._kept = (u8, u32, u64)
        self._lists = [np.array([a.ctypes.data for a in arrays], dtype=np.uint64) for arrays in self._kept]
        self.arguments: list[int] = [addresses.ctypes.data for addresses in self._lists]


def aligned(words: int) -> NDArray[np.uint64]:
    """Zeroed words that begin at a cache line, so that a slot of a hash table never lies across two."""
    raw = np.zeros(words + 8, dtype=np.uint64)
    skip = -raw.ctypes.data % 64 // 8
    return raw[skip : skip + words]


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """A longer array that begins with this one; the rest is not initialized."""
    longer = np.empty(size, dtype=array.dtype)
    longer[: len(array)] = array
    return longer


def class_rows() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The classes of all code points in two levels: row of each block of 128, and the distinct rows."""
    table = class_table()
    rows: dict[bytes, int] = {}
    index = [rows.setdefault(bytes(table[i : i + 128]), len(rows)) for i in range(0, len(table), 128)]
    return np.array(index, dtype=np.uint8), np.frombuffer(b"".join(rows), dtype=np.uint8)
