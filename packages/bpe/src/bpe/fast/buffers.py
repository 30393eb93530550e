"""Memory in the form in which the kernels take it."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpe.unicode_classes import class_table


class Addresses:
    """Arrays, and the three lists of their addresses (8-, 32- and 64-bit words) through which a kernel finds them."""

    def __init__(self, u8: Sequence[Any], u32: Sequence[Any], u64: Sequence[Any]) -> None:
        self._arrays = (u8, u32, u64)  # keeps them alive
        self._lists = [np.array([a.ctypes.data for a in arrays], dtype=np.uint64) for arrays in self._arrays]
        self.arguments: list[int] = [addresses.ctypes.data for addresses in self._lists]


def private_memory(size: int) -> mmap.mmap:
    """Return zeroed memory. Pages need no RAM before they are used, and go back to the system at once when freed.

    The mapping is private: a shared one, the default of mmap, would let forked processes write into each other's
    tables.
    """
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, size)  # Windows, which does not fork


def zeroed_arrays(*parts: tuple[type[np.generic], int]) -> list[NDArray[Any]]:
    """Return zeroed arrays of these dtypes and lengths that share one mapping, each aligned to a cache line."""
    sizes = [-(-np.dtype(dtype).itemsize * length // 64) * 64 for dtype, length in parts]
    memory = private_memory(sum(sizes))
    offsets = [0, *np.cumsum(sizes).tolist()]
    return [np.frombuffer(memory, dtype, n, offset) for (dtype, n), offset in zip(parts, offsets, strict=False)]


def zeroed_words(number: int) -> NDArray[np.uint64]:
    """Return zeroed 64-bit words for a hash table, aligned to a page, so that no slot spans two cache lines.

    Requests huge pages where they exist: a table is read at random, and each small page costs a page fault and later
    an address translation.
    """
    memory = private_memory(8 * number)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=np.uint64)


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """Return a longer array that starts with this one; the rest is not initialized."""
    longer = np.empty(size, dtype=array.dtype)
    longer[: len(array)] = array
    return longer


def class_rows() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the classes of all code points in two levels: the row of each block of 128, and the distinct rows."""
    table = class_table()
    rows: dict[bytes, int] = {}
    index = [rows.setdefault(bytes(table[i : i + 128]), len(rows)) for i in range(0, len(table), 128)]
    return np.array(index, dtype=np.uint8), np.frombuffer(b"".join(rows), dtype=np.uint8)
