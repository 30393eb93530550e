"""The table of known pre-tokens and their ids: a hash table that compares complete keys, so a hit is always right.

A pre-token of at most 15 bytes is its own key: its bytes in two words, with its length in the last byte. A slot is half
a cache line: the key, then up to four ids, the first of which has their number in its top byte. With more than four ids
that number is zero, and the slot says where in `pool` they are. The table starts with every token of at most 15 bytes.
Longer pre-tokens have slots of their own, which hold a hash and the offset of their bytes.

All threads of a tokenizer share the table. A slot is empty or final: it is never changed after it was stored. One
thread at a time stores; another one that would have to wait does not store. Readers take no lock (see `atomics.py`).
"""

from __future__ import annotations

from typing import Any

from bpe.fast.kernels.atomics import acquire_fence, release_fence, try_lock, unlock
from bpe.fast.kernels.merge import GOLDEN, merge
from bpe.fast.kernels.tables import U8, U64, Cache, Merger, inlined, int64, jit, load64, open_cache, uint32, uint64
from bpe.fast.struct_layout import (
    ARENA_FILLED,
    ARENA_MORE,
    BITS,
    CACHED,
    LONG_CACHED,
    LONG_LESS,
    LONGEST,
    POOL_MORE,
    POOLED,
    TOKENS,
    UNMERGED,
)

COUNT_SHIFT = 24  # the number of ids is stored above the first id
ID_MASK = (1 << COUNT_SHIFT) - 1
COUNTED = 0xFF << COUNT_SHIFT  # the number of ids, in the word with the first two
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

    Works in three passes, so that memory accesses overlap: keys and slots; whether the first slot may hold it; ids.
    Always writes four ids, which is faster than writing the exact number.
    """
    ends, slots, found = memory.ends, memory.slots, memory.found
    lows, highs, cache = memory.low, memory.high, memory.cache
    shift = uint64(64) - memory.filled[BITS]
    begin = start
    for k in range(last - first):
        end = int64(ends[first + k])
        low, high = key_of(memory.text, begin, end - begin)
        lows[k] = low
        highs[k] = high
        slots[k] = uint32(hash_key(low, high) >> shift)
        begin = end
    for k in range(last - first):
        found[k] = cache[int64(slots[k]) << 2 | 1] == highs[k]
    acquire_fence()
    begin = start
    for k in range(last - first):
        end = int64(ends[first + k])
        if found[k] and cache[int64(slots[k]) << 2] == lows[k]:
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
def find(memory: Cache, low: Any, high: Any, slot: int) -> int:
    """Return the slot that holds this key, searching from `slot` on, or -1 - the empty one where it belongs."""
    cache, mask = memory.cache, (1 << int64(memory.filled[BITS])) - 1
    while True:
        kept = cache[slot << 2 | 1]
        if kept == 0:
            return -1 - slot
        acquire_fence()
        if kept == high and cache[slot << 2] == low:
            return slot
        slot = (slot + 1) & mask


@jit
def look_further(memory: Cache, merger: Merger, begin: int, end: int, k: int, out: Any, at: int) -> int:
    """Write the ids of pre-token k of the batch, which is not in its first slot: search on, or merge and store it."""
    low, high = memory.low[k], memory.high[k]
    slot = find(memory, low, high, int64(memory.slots[k]))
    if slot >= 0:
        return write(memory, slot << 3 | 4, out, at)
    stop = merge(merger, begin, end, out, at)
    if not full(memory, 7) and try_lock(memory.filled):
        keep(memory, low, high, -1 - slot, out, at, stop - at)
        unlock(memory.filled)
    return stop


@jit
def keep(memory: Cache, low: Any, high: Any, slot: int, ids: Any, at: int, count: int) -> None:
    """Store a short pre-token, unless another thread has. The caller holds the lock."""
    cache, cache32, filled = memory.cache, memory.cache32, memory.filled
    slot = -1 - find(memory, low, high, slot)
    if slot < 0 or full(memory, 7):
        return
    entry = slot << 3 | 4
    if count <= 4:
        cache32[entry] = uint32(ids[at]) | uint32(count) << uint32(COUNT_SHIFT)
        for i in range(1, count):
            cache32[entry + i] = ids[at + i]
    else:
        cache32[entry] = 0
        cache32[entry + 1] = uint32(filled[POOLED])
        cache32[entry + 2] = count
        add_to_pool(memory, ids, at, count)
    filled[CACHED] += uint64(1)
    cache[slot << 2] = low
    release_fence()
    cache[slot << 2 | 1] = high


@jit
def add_to_pool(memory: Cache, ids: Any, at: int, count: int) -> None:
    """Store the ids[at : at + count]."""
    begin = int64(memory.filled[POOLED])
    for i in range(count):
        memory.pool[begin + i] = ids[at + i]
    memory.filled[POOLED] = uint64(begin + count)


@jit
def look_up_long(memory: Cache, merger: Merger, begin: int, end: int, out: Any, at: int) -> int:
    """Write the ids of a pre-token of more than 15 bytes. Returns their end."""
    if end - begin > LONGEST:
        return merge(merger, begin, end, out, at)
    mixed = hash_long(memory, begin, end)
    slot = find_long(memory, begin, end, mixed)
    if slot >= 0:
        ids = int64(memory.long_cache[slot << 2 | 2])
        for i in range(ids & 0xFFFF):
            out[at + i] = memory.pool[(ids >> 16) + i]
        return at + (ids & 0xFFFF)
    stop = merge(merger, begin, end, out, at)
    if not full(memory, 7) and try_lock(memory.filled):
        keep_long(memory, begin, end, mixed, out, at, stop - at)
        unlock(memory.filled)
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
    """Return the slot that holds this long pre-token, or -1 - the empty one where it belongs."""
    cache, text, arena = memory.long_cache, memory.text, memory.arena
    bits, length = int64(memory.filled[BITS]) - LONG_LESS, end - begin
    slot = int64(mixed >> uint64(64 - bits))
    while True:
        kept = cache[slot << 2]
        if kept == 0:
            return -1 - slot
        acquire_fence()
        place = int64(cache[slot << 2 | 1])
        if kept == mixed and place & 0xFFFF == length:
            there = place >> 16
            same = load64(arena, there + length - 8) == load64(text, end - 8)
            for i in range(0, length - 8, 8):
                same &= load64(arena, there + i) == load64(text, begin + i)
            if same:
                return slot
        slot = (slot + 1) & ((1 << bits) - 1)


@jit
def keep_long(memory: Cache, begin: int, end: int, mixed: Any, ids: Any, at: int, count: int) -> None:
    """Store a long pre-token, unless another thread has: its hash, where its bytes are, where its ids are.

    The caller holds the lock.
    """
    cache, filled = memory.long_cache, memory.filled
    slot = -1 - find_long(memory, begin, end, mixed)
    if slot < 0 or full(memory, 7):
        return
    there = int64(filled[ARENA_FILLED])
    for i in range(end - begin):
        memory.arena[there + i] = memory.text[begin + i]
    cache[slot << 2 | 1] = uint64(there << 16 | (end - begin))
    cache[slot << 2 | 2] = filled[POOLED] << uint64(16) | uint64(count)
    add_to_pool(memory, ids, at, count)
    filled[ARENA_FILLED] = uint64(there + end - begin)
    filled[LONG_CACHED] += uint64(1)
    release_fence()
    cache[slot << 2] = mixed


@jit
def full(memory: Cache, eighths: int) -> Any:
    """Return whether any part of the table is filled to so many eighths."""
    filled = memory.filled
    size = (1 << int64(filled[BITS])) // 8 * eighths
    return (
        (int64(filled[CACHED]) > size)
        | (int64(filled[LONG_CACHED]) > size >> LONG_LESS)
        | (int64(filled[POOLED]) > size << POOL_MORE)
        | (int64(filled[ARENA_FILLED]) > size << ARENA_MORE)
    )


@jit
def fill_with_tokens(memory: Cache) -> None:
    """Store the tokens in a new table, which no other thread knows yet."""
    zero, one = int64(0), int64(1)
    for i in range(int64(memory.facts[TOKENS])):
        low, high = memory.token_low[i], memory.token_high[i]
        first = int64(hash_key(low, high) >> (uint64(64) - memory.filled[BITS]))
        memory.ids[0] = uint32(memory.token_id[i])
        keep(memory, low, high, first, memory.ids, zero, one)
    position = int64(0)
    for i in range(int64(memory.facts[UNMERGED])):
        length = int64(memory.unmerged_lengths[i])
        for k in range(length):
            memory.text[k] = memory.unmerged[position + k]
        position += length
        keep_long(memory, zero, length, hash_long(memory, zero, length), memory.unmerged_ids, i, one)


@jit
def copy_table(u8: Any, u32: Any, u64: Any, old: U64, slots: int) -> int:
    """Copy the short pre-tokens with at most four ids from a smaller table, which other threads may still fill."""
    memory = open_cache(u8, u32, u64)
    cache, shift = memory.cache, uint64(64) - memory.filled[BITS]
    for entry in range(0, slots << 2, 4):
        high = old[entry | 1]
        if high == 0:
            continue
        acquire_fence()
        if old[entry | 2] & uint64(COUNTED) == 0:  # its ids are in the other table's pool
            continue
        slot = -1 - find(memory, old[entry], high, int64(hash_key(old[entry], high) >> shift))
        if slot >= 0:
            for i in range(4):
                cache[slot << 2 | i] = old[entry | i]
            memory.filled[CACHED] += uint64(1)
    return 0
