"""The compiled engine: the same ids, splits, counts and merges as the textbook's, many times as fast.

Needs the extra `fast` (numba). Importing this package imports neither numba nor llvmlite; using it loads the kernels,
see `machine.py`.

    encoder = NumbaEncoder(ranks, "gpt2")
    encoder.encode("hello".encode())
"""

from __future__ import annotations

from bpe.fast.counter import PretokenCounter, count
from bpe.fast.encoder import NumbaEncoder
from bpe.fast.machine import available
from bpe.fast.trainer import train

__all__ = ["available", "NumbaEncoder", "PretokenCounter", "count", "train"]
