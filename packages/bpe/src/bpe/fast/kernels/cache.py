"""The cache from pre-token to ids: a hash table that compares complete keys, so a hit is always right.

A pre-token of at most 15 bytes is its own key: its bytes in two words, with its length in the last byte. A slot is half
a cache line: the key, then up to four ids, the first of which has their number in its top byte. With more than four ids
that number is zero, and the slot says where in `pool` they are. The cache starts with every token of at most 15 bytes.
Longer pre-tokens have a table of their own, which holds a hash and the offset of their bytes.
"""

from __future__ import annotations

from typing import Any

from bpe.fast.kernels.merge import GOLDEN, merge
from bpe.fast.kernels.tables import U8, Cache, Merger, inlined, int64, jit, load64, uint32, uint64
from bpe.fast.struct_layout import (
    ARENA,
    ARENA_USED,
    CACHE_BITS,
    CACHED,
    LONG_BITS,
    LONG_CACHED,
    LONGEST,
    POOL,
    POOLED,
    TOKENS,
    UNMERGED,
    WARM,
)

COUNT_SHIFT = 24  # the number of ids is stored above the first id
ID_MASK = (1 << COUNT_SHIFT) - 1
ALL = 0xFFFFFFFFFFFFFFFF


@jit
def hash_key(low: Any, high: Any) -> Any:
    """Return 64 well-mixed bits of a key: two odd multipliers, folded, multiplied again."""
    mixed = (low * uint64(GOLDEN)) ^ (high * uint64(0xC2B2AE3D27D4EB4F))
    return (mixed ^ mixed >> uint64(32)) * uint64(0xD6E8FEB86659FD93)


@jit
def key_of(text: U8, start: int, length: int) -> tuple[Any, Any]:
    """Return the two words of a pre-token's key. If it is too long, return a key that no entry has."""
    low_bytes, high_bytes = min(length, 8), min(max(length - 8, 0), 7)
    low = load64(text, start) & (uint64(ALL) >> uint64(64 - 8 * low_bytes))
    high = load64(text, start + 8) & ((uint64(1) << uint64(8 * high_bytes)) - uint64(1))
    return low, high | uint64(min(length, 255)) << uint64(56)


@jit
def look_up(memory: Cache, merger: Merger, start: int, first: int, last: int, out: Any, at: int) -> int:
    """Write the ids of the pre-tokens first..last, whose text begins at `start`. Returns their end in `out`.

    Works in three passes, so that memory accesses overlap: keys and slots; whether the first slot holds the key; ids.
    Always writes four ids, which is faster than writing the exact number.
    """
    ends, slots, found = memory.ends, memory.slots, memory.found
    lows, highs, cache = memory.low, memory.high, memory.cache
    begin = start
    for k in range(last - first):
        end = int64(ends[first + k])
        low, high = key_of(memory.text, begin, end - begin)
        lows[k] = low
        highs[k] = high
        slots[k] = uint32(hash_key(low, high) >> uint64(64 - CACHE_BITS))
        begin = end
    for k in range(last - first):
        slot = int64(slots[k]) << 2
        found[k] = (cache[slot] == lows[k]) & (cache[slot + 1] == highs[k])
    begin = start
    for k in range(last - first):
        end = int64(ends[first + k])
        if found[k]:
            at = write(memory, (int64(slots[k]) << 3) + 4, out, at)
        elif end - begin <= 15:
            at = look_further(memory, merger, begin, end, k, out, at)
        else:
            at = look_up_long(memory, merger, begin, end, out, at)
        begin = end
    return at


@inlined
def write(memory: Cache, entry: int, out: Any, at: int) -> int:
    """Write the ids of a slot. Returns their end."""
    cache32 = memory.cache32
    first, second, third, fourth = cache32[entry], cache32[entry + 1], cache32[entry + 2], cache32[entry + 3]
    out[at], out[at + 1], out[at + 2], out[at + 3] = first & uint32(ID_MASK), second, third, fourth
    count = int64(first >> uint32(COUNT_SHIFT))
    if count == 0:
        count = int64(third)
        for k in range(0, count, 4):
            for i in range(k, k + 4):
                out[at + i] = memory.pool[int64(second) + i]
    return at + count


@jit
def look_further(memory: Cache, merger: Merger, begin: int, end: int, k: int, out: Any, at: int) -> int:
    """Write the ids of pre-token k of the batch, which is not in its first slot: search on, or merge and store it."""
    cache, cache32, state = memory.cache, memory.cache32, memory.state
    low, high = memory.low[k], memory.high[k]
    slot = int64(memory.slots[k])
    while cache[slot << 2 | 1] != 0:
        if cache[slot << 2] == low and cache[slot << 2 | 1] == high:
            return write(memory, slot << 3 | 4, out, at)
        slot = (slot + 1) & ((1 << CACHE_BITS) - 1)
    stop = merge(merger, begin, end, out, at)
    if full(memory, 7):
        return stop
    count = stop - at
    cache[slot << 2] = low
    cache[slot << 2 | 1] = high
    state[CACHED] += uint64(1)
    entry = slot << 3 | 4
    if count <= 4:
        cache32[entry] = uint32(out[at]) | uint32(count) << uint32(COUNT_SHIFT)
        for i in range(1, count):
            cache32[entry + i] = out[at + i]
    else:
        cache32[entry] = 0
        cache32[entry + 1] = uint32(state[POOLED])
        cache32[entry + 2] = count
        add_to_pool(memory, out, at, count)
    return stop


@jit
def add_to_pool(memory: Cache, out: Any, at: int, count: int) -> None:
    """Store the ids out[at : at + count]."""
    begin = int64(memory.state[POOLED])
    for i in range(count):
        memory.pool[begin + i] = out[at + i]
    memory.state[POOLED] = uint64(begin + count)


@jit
def look_up_long(memory: Cache, merger: Merger, begin: int, end: int, out: Any, at: int) -> int:
    """Write the ids of a pre-token of more than 15 bytes. Returns their end."""
    if end - begin > LONGEST:
        return merge(merger, begin, end, out, at)
    mixed = hash_long(memory, begin, end)
    slot = find_long(memory, begin, end, mixed)
    if memory.long_cache[slot << 2] != 0:
        ids = int64(memory.long_cache[slot << 2 | 2])
        for i in range(ids & 0xFFFF):
            out[at + i] = memory.pool[(ids >> 16) + i]
        return at + (ids & 0xFFFF)
    stop = merge(merger, begin, end, out, at)
    if not full(memory, 7):
        keep_long(memory, begin, end, mixed, slot, out, at, stop - at)
    return stop


@jit
def hash_long(memory: Cache, begin: int, end: int) -> Any:
    """Return the hash of a long pre-token, never 0: eight bytes at a time, the last eight once more."""
    mixed = uint64(end - begin)
    for i in range(begin, end - 8, 8):
        mixed = hash_key(mixed, load64(memory.text, i))
    return hash_key(mixed, load64(memory.text, end - 8)) | uint64(1)


@jit
def find_long(memory: Cache, begin: int, end: int, mixed: Any) -> int:
    """Return the slot that holds this long pre-token, or the empty one where it belongs."""
    cache, text, arena = memory.long_cache, memory.text, memory.arena
    length = end - begin
    slot = int64(mixed >> uint64(64 - LONG_BITS))
    while cache[slot << 2] != 0:
        place = int64(cache[slot << 2 | 1])
        if cache[slot << 2] == mixed and place & 0xFFFF == length:
            kept = place >> 16
            same = load64(arena, kept + length - 8) == load64(text, end - 8)
            for i in range(0, length - 8, 8):
                same &= load64(arena, kept + i) == load64(text, begin + i)
            if same:
                break
        slot = (slot + 1) & ((1 << LONG_BITS) - 1)
    return slot


@jit
def keep_long(memory: Cache, begin: int, end: int, mixed: Any, slot: int, ids: Any, at: int, count: int) -> None:
    """Store a long pre-token: its hash, the offset and number of its bytes, the offset and number of its ids."""
    cache, state = memory.long_cache, memory.state
    kept = int64(state[ARENA_USED])
    for i in range(end - begin):
        memory.arena[kept + i] = memory.text[begin + i]
    cache[slot << 2] = mixed
    cache[slot << 2 | 1] = uint64(kept << 16 | (end - begin))
    cache[slot << 2 | 2] = state[POOLED] << uint64(16) | uint64(count)
    add_to_pool(memory, ids, at, count)
    state[ARENA_USED] = uint64(kept + end - begin)
    state[LONG_CACHED] += uint64(1)


@jit
def full(memory: Cache, eighths: int) -> Any:
    """Return whether any part of the cache is filled to so many eighths."""
    state = memory.state
    return (
        (int64(state[CACHED]) > (1 << CACHE_BITS) // 8 * eighths)
        | (int64(state[LONG_CACHED]) > (1 << LONG_BITS) // 8 * eighths)
        | (int64(state[POOLED]) > POOL // 8 * eighths)
        | (int64(state[ARENA_USED]) > ARENA // 8 * eighths)
    )


@jit
def make_room(memory: Cache) -> None:
    """Empty a cache that is filled to six eighths, except for the tokens. Runs between blocks."""
    state = memory.state
    if state[WARM] and not full(memory, 6):
        return
    if state[WARM]:
        for i in range(4 << CACHE_BITS):
            memory.cache[i] = 0
        for i in range(4 << LONG_BITS):
            memory.long_cache[i] = 0
    for i in range(int64(memory.facts[TOKENS])):
        low, high = memory.token_low[i], memory.token_high[i]
        slot = int64(hash_key(low, high) >> uint64(64 - CACHE_BITS))
        while memory.cache[slot << 2 | 1] != 0:
            slot = (slot + 1) & ((1 << CACHE_BITS) - 1)
        memory.cache[slot << 2] = low
        memory.cache[slot << 2 | 1] = high
        memory.cache32[slot << 3 | 4] = uint32(memory.token_id[i]) | uint32(1 << COUNT_SHIFT)
    state[CACHED] = memory.facts[TOKENS]
    state[LONG_CACHED] = 0
    state[POOLED] = 0
    state[ARENA_USED] = 0
    state[WARM] = 1
    position, zero, one = int64(0), int64(0), int64(1)
    for i in range(int64(memory.facts[UNMERGED])):
        length = int64(memory.unmerged_lengths[i])
        for k in range(length):
            memory.text[k] = memory.unmerged[position + k]
        position += length
        mixed = hash_long(memory, zero, length)
        keep_long(memory, zero, length, mixed, find_long(memory, zero, length, mixed), memory.unmerged_ids, i, one)
