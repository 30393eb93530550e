"""Ids to bytes."""

from __future__ import annotations

from bpe.fast.kernels.tables import U8, U32, U64, int64, jit


@jit
def decode(ids: U32, n: int, offsets: U64, tokens: int, data: U8, out: U8) -> int:
    """Write the bytes of n ids to `out`; how many, or -1 - k if id k is none.

    Token t is data[offsets[t] : offsets[t + 1]]. Sixteen bytes are written whether the
    token has so many or not, which is quicker than to ask.
    """
    at = 0
    for k in range(n):
        token = int64(ids[k])
        if token >= tokens:
            return -1 - k
        begin, end = int64(offsets[token]), int64(offsets[token + 1])
        if begin == end:
            return -1 - k
        for i in range(16):
            out[at + i] = data[begin + i]
        for i in range(16, end - begin):
            out[at + i] = data[begin + i]
        at += end - begin
    return at


@jit
def decoded_size(ids: U32, n: int, offsets: U64, tokens: int) -> int:
    """Bytes that `decode` will write; ids that are none count as nothing."""
    size = 0
    for k in range(n):
        token = int64(ids[k])
        if token < tokens:
            size += int64(offsets[token + 1]) - int64(offsets[token])
    return size
