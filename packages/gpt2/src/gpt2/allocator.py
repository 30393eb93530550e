"""Memory that a training step frees is wanted again by the next one: have the C library keep it.

glibc maps every large tensor afresh and gives it back when it is freed, so a step on a CPU touches every page of every
activation for the first time, each time anew.
"""

from __future__ import annotations

import ctypes
import sys

# malloc.h: no block is mapped on its own; the heap's free end is kept, and grows by 64 MiB at a time
SETTINGS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 64 << 20)}


def keep_freed_memory() -> bool:
    """Call before the first large tensor; the process then holds on to its peak. False where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in SETTINGS.values())
