"""The compiled engine: the same ids, splits, counts and merges as the textbook code, many times faster.

Needs the extra `fast` (numba). Importing this package imports neither numba nor llvmlite; the first call loads the
kernels (see `aot.py`).

    encoder = NumbaEncoder(ranks, "gpt2")
    encoder.encode("hello".encode())
"""

from __future__ import annotations

from bpe.fast.counter import PretokenCounter, count
from bpe.fast.encoder import NumbaEncoder
from bpe.fast.trainer import train

__all__ = ["NumbaEncoder", "PretokenCounter", "count", "train"]
