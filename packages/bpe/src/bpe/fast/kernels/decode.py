"""Ids to bytes."""

from __future__ import annotations

from bpe.fast.kernels.tables import U8, U32, U64, int64, jit


@jit
def decode(ids: U32, n: int, offsets: U64, tokens: int, data: U8, out: U8) -> int:
    """Write the bytes of n ids to `out`. Returns their number, or -1 - k if id k has no token.

    Token t is data[offsets[t] : offsets[t + 1]]. At least sixteen bytes are always written, which is faster than a
    comparison with the length.
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
    """Return the number of bytes that `decode` will write; ids without a token count 0."""
    size = 0
    for k in range(n):
        token = int64(ids[k])
        if token < tokens:
            size += int64(offsets[token + 1]) - int64(offsets[token])
    return size
