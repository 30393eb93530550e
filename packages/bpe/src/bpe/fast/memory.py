"""Arrays as the kernels take them."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import suppress
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


def zeroed_words(number: int) -> NDArray[np.uint64]:
    """Zeroed 64-bit words for a hash table: they begin with a page, so that no slot lies across two cache lines.

    Asked for in huge pages where there are any: a table is read all over, and each small page costs a fault at first
    and an address translation ever after.
    """
    memory = mmap.mmap(-1, 8 * number)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # the system may have been built without
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=np.uint64)


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
