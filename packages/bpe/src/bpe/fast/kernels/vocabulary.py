"""From a vocabulary to the tables that merging reads."""

from __future__ import annotations

from typing import Any

from bpe.fast.kernels.merge import add_pair, merge
from bpe.fast.kernels.tables import JOINABLE, U8, int64, jit, open_cache, open_merger
from bpe.fast.struct_layout import PAIR_BITS


@jit
def vocabulary(u8: Any, u32: Any, u64: Any, data: U8, tokens: int, lengths: Any, ids: Any, is_unmerged: Any) -> int:
    """Fill `byte_ids`, `bigrams`, `pairs`, `joinable` and `is_unmerged` (1 for tokens that no merge forms).

    The tokens' bytes are concatenated, shorter tokens first, so that everything a token can consist of is known when it
    is reached. Merging it must leave two parts, which are its pair. Returns the number of tokens that no merge forms.
    """
    merger, joinable, parts = open_merger(u8, u32, u64), u8[JOINABLE], open_cache(u8, u32, u64).ids
    position = unreachable = zero = int64(0)
    for k in range(tokens):
        length = int64(lengths[k])
        for i in range(length):
            merger.text[i] = data[position + i]
        for i in range(1, length):
            joinable[int64(merger.text[i - 1]) << 8 | int64(merger.text[i])] = 1
        is_unmerged[k] = 0
        if length == 1:
            merger.byte_ids[int64(merger.text[0])] = ids[k]
        elif merge(merger, zero, length, parts, zero) == 2:
            add_pair(merger.pairs, merger.facts[PAIR_BITS], parts[0], parts[1], ids[k])
            if length == 2:
                merger.bigrams[int64(merger.text[0]) << 8 | int64(merger.text[1])] = ids[k]
        else:
            is_unmerged[k] = 1
            unreachable += 1
        position += length
    return unreachable
