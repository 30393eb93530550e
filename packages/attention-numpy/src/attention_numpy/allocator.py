"""Keep memory that was freed, for the next step: glibc otherwise returns it and the kernel clears it anew."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # from glibc's malloc.h


def reuse_memory() -> bool:
    """Let the whole process keep freed arrays; whether it could be done (glibc only).

    A training step allocates the same arrays again and again. Above 128 kB glibc maps each anew and every first
    touch of a page is a fault: up to a fifth of a step's time. To be called before training, by a program, not
    by a library: it is a setting of the process, and its memory stays at the peak.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 << 20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
