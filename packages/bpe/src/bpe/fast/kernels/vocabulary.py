"""From a vocabulary to the tables that merging reads."""

from __future__ import annotations

from typing import Any

from numba import int64, uint32

from bpe.fast.kernels.memory import U8, jit, open_tables
from bpe.fast.kernels.merge import add_pair, merge
from bpe.fast.layout import PADDING, PAIR_BITS


@jit
def vocabulary(u8: Any, u32: Any, u64: Any, data: U8, tokens: int, lengths: Any, ids: Any, odd: Any) -> int:
    """Fill `byte_ids`, `bigrams`, `pairs` and `joined`; `odd[k]` = 1 for tokens that merging never makes; how many.

    The tokens' bytes stand one after another, shorter tokens before longer ones: so all that a token can be made of is
    known when its turn comes. Merging it has to leave two parts, which are its pair.
    """
    tables = open_tables(u8, u32, u64)
    position = unreachable = 0
    for k in range(tokens):
        length = int64(lengths[k])
        for i in range(length):
            tables.text[i] = data[position + i]
        for i in range(length, length + PADDING):
            tables.text[i] = 0
        for i in range(1, length):
            tables.joined[int64(tables.text[i - 1]) << 8 | int64(tables.text[i])] = 1
        odd[k] = 0
        if length == 1:
            tables.byte_ids[int64(tables.text[0])] = ids[k]
        else:
            parts = merge(tables, 0, length, tables.pool, 0)
            if parts == 2:
                add_pair(tables.pairs, tables.facts[PAIR_BITS], tables.pool[0], tables.pool[1], ids[k])
                if length == 2:
                    tables.bigrams[int64(tables.text[0]) << 8 | int64(tables.text[1])] = uint32(ids[k])
            else:
                odd[k] = 1
                unreachable += 1
        position += length
    return unreachable
