# Vendored: edit shared/vendored/malloc.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Tell glibc malloc to keep freed memory, because each training step allocates the same buffers again."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h. No block is mapped on its own; the free end of the heap is kept and grows by 64 MiB at a time.
SETTINGS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 64 << 20)}


def keep_freed_memory() -> bool:
    """Make this process keep the memory that it frees. Returns False where the C library is not glibc.

    By default glibc maps each block above 128 kB again and unmaps it when it is freed, so every step pays a page fault
    for each page that it touches. This is a setting of the whole process, whose memory then stays at its peak:
    programs call it before the first large allocation, libraries do not.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in SETTINGS.values())
