"""Byte pair merging of one pre-token: the pair with the lowest rank first, the leftmost of equals, until none is left.

A token's id is its rank. `pairs` holds for each token the one pair that ever forms it. Why one is enough: take two
neighbors x, y whose bytes together are a token t. So far nothing was merged across their outer ends, so inside them
everything happened as if t stood alone, and the last step of merging t alone is unique.
"""

from __future__ import annotations

from typing import Any

from bpe.fast.kernels.tables import NONE, U64, Merger, inlined, int64, jit, uint8, uint32, uint64
from bpe.fast.struct_layout import ID_BITS, PAIR_BITS, SHORT

POSITION_BITS = 6  # of 64 positions
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, the usual multiplier: high bits are well mixed


@jit
def pair_slot(key: Any, bits: Any) -> int:
    """Return the first slot to search for a pair."""
    return int64((key * uint64(GOLDEN)) >> (uint64(64) - bits))


@inlined
def find_pair(pairs: U64, bits: Any, left: Any, right: Any) -> Any:
    """Return the id of the token that the pair forms, or NONE. A slot holds left, right and id + 1, of ID_BITS each."""
    key = uint64(left) << uint64(ID_BITS) | uint64(right)
    slot = pair_slot(key, bits)
    while True:
        entry = pairs[slot]
        if entry >> uint64(ID_BITS) == key and entry != 0:
            return uint32((entry & uint64((1 << ID_BITS) - 1)) - uint64(1))
        if entry == 0:
            return uint32(NONE)
        slot = (slot + 1) & ((1 << int64(bits)) - 1)


@jit
def add_pair(pairs: U64, bits: Any, left: Any, right: Any, token: Any) -> None:
    """Enter a pair that is not in the table."""
    key = uint64(left) << uint64(ID_BITS) | uint64(right)
    slot = pair_slot(key, bits)
    while pairs[slot] != 0:
        slot = (slot + 1) & ((1 << int64(bits)) - 1)
    pairs[slot] = key << uint64(ID_BITS) | (uint64(token) + uint64(1))


@jit
def merge(merger: Merger, start: int, end: int, out: Any, at: int) -> int:
    """Write the ids of the bytes start..end of `text` to `out` from `at`. Returns their end."""
    if end - start <= SHORT:
        return merge_short(merger, start, end, out, at)
    return merge_long(merger, start, end, out, at)


@jit
def merge_short(merger: Merger, start: int, end: int, out: Any, at: int) -> int:
    """Merge by scanning: `ranks[k]` is the rank of the pair at k and then k itself, so one minimum gives both.

    Scans sixteen at a time, which is one or two vector instructions. Symbols stay at their position; `links` (next in
    the first half, previous in the second) skips those that were merged away.
    """
    text, symbols, ranks, links = merger.text, merger.symbols, merger.ranks, merger.links
    pairs, bits = merger.pairs, merger.facts[PAIR_BITS]
    length = end - start
    blocks = (length + 15) >> 4
    for k in range(length - 1):
        left, right = text[start + k], text[start + k + 1]
        symbols[k] = merger.byte_ids[left]
        ranks[k] = packed(merger.bigrams[int64(left) << 8 | int64(right)], k)
        links[k] = uint8(k + 1)
        links[SHORT + k + 1] = uint8(k)
    symbols[length - 1] = merger.byte_ids[text[end - 1]]
    for k in range(length - 1, blocks << 4):
        ranks[k] = uint32(NONE)
    links[length - 1] = uint8(length)
    while True:
        best = uint32(NONE)
        for block in range(blocks):
            for k in range(16):
                best = min(best, ranks[(block << 4) + k])
        if best == NONE:
            break
        k = int64(best & uint32((1 << POSITION_BITS) - 1))
        token = uint32(best >> uint32(POSITION_BITS))
        symbols[k] = token
        swallowed = int64(links[k])
        after = int64(links[swallowed])
        links[k] = uint8(after)
        ranks[swallowed] = uint32(NONE)
        if after < length:
            links[SHORT + after] = uint8(k)
            ranks[k] = packed(find_pair(pairs, bits, token, symbols[after]), k)
        else:
            ranks[k] = uint32(NONE)
        if k > 0:
            before = int64(links[SHORT + k])
            ranks[before] = packed(find_pair(pairs, bits, symbols[before], token), before)
    k = 0
    while k < length:
        out[at] = symbols[k]
        at += 1
        k = int64(links[k])
    return at


@jit
def packed(rank: Any, k: int) -> Any:
    """Return rank and position in one number that orders by rank, then from left to right; NONE stays NONE."""
    return uint32(NONE) if rank == NONE else uint32(rank) << uint32(POSITION_BITS) | uint32(k)


@jit
def merge_long(merger: Merger, start: int, end: int, out: Any, at: int) -> int:
    """Merge with a heap of (rank, position), in O(n log n). A pair that has changed is skipped when it is popped."""
    text, symbols, ranks, heap = merger.text, merger.symbols, merger.ranks, merger.heap
    following, preceding = merger.following, merger.preceding
    pairs, bits = merger.pairs, merger.facts[PAIR_BITS]
    length = end - start
    for k in range(length):
        symbols[k] = merger.byte_ids[text[start + k]]
        following[k] = k + 1
        preceding[k] = k - 1
        ranks[k] = uint32(NONE)
    waiting = int64(0)
    for k in range(length - 1):
        rank = merger.bigrams[int64(text[start + k]) << 8 | int64(text[start + k + 1])]
        waiting = set_rank(ranks, heap, waiting, k, rank)
    while waiting > 0:
        best = heap[0]
        waiting = pop(heap, waiting)
        k = int64(best & uint64(0xFFFFFFFF))
        if uint64(ranks[k]) != best >> uint64(32):
            continue
        swallowed = int64(following[k])
        after = int64(following[swallowed])
        symbols[k] = ranks[k]
        ranks[swallowed] = uint32(NONE)
        ranks[k] = uint32(NONE)
        following[k] = after
        if after < length:
            preceding[after] = k
            waiting = set_rank(ranks, heap, waiting, k, find_pair(pairs, bits, symbols[k], symbols[after]))
        if k > 0:
            before = int64(preceding[k])
            waiting = set_rank(ranks, heap, waiting, before, find_pair(pairs, bits, symbols[before], symbols[k]))
    k = 0
    while k < length:
        out[at] = symbols[k]
        at += 1
        k = int64(following[k])
    return at


@jit
def set_rank(ranks: Any, heap: U64, waiting: int, k: int, rank: Any) -> int:
    """Set the rank of the pair at k, and push it on the heap if it can be merged. Returns the size of the heap."""
    ranks[k] = rank
    if rank == NONE:
        return waiting
    entry = uint64(rank) << uint64(32) | uint64(k)
    hole = waiting
    while hole > 0 and heap[(hole - 1) >> 1] > entry:
        heap[hole] = heap[(hole - 1) >> 1]
        hole = (hole - 1) >> 1
    heap[hole] = entry
    return waiting + 1


@jit
def pop(heap: U64, waiting: int) -> int:
    """Remove the smallest entry. Returns the size of the heap."""
    waiting -= 1
    entry = heap[waiting]
    hole = 0
    child = 1
    while child < waiting:
        if child + 1 < waiting and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[hole] = heap[child]
        hole = child
        child = 2 * hole + 1
    heap[hole] = entry
    return waiting
