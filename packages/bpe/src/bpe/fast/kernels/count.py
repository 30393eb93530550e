"""Count pre-tokens: the same split as for encoding, and a hash table from pre-token to count."""

from __future__ import annotations

from typing import Any, NamedTuple

from bpe.fast.kernels.cache import hash_key, key_of
from bpe.fast.kernels.encode import collect, next_block
from bpe.fast.kernels.tables import U8, U32, U64, int64, jit, load64, open_block, uint32, uint64
from bpe.fast.struct_layout import (
    ARENA_ROOM,
    ARENA_USED,
    BATCH,
    COUNT_DONE,
    COUNT_NEEDS_ARENA,
    COUNT_NEEDS_BUFFERS,
    COUNT_NEEDS_TABLE,
    COUNT_NEEDS_WORDS,
    POSITION,
    TABLE_BITS,
    WORD_ROOM,
    WORDS,
)


class CountTables(NamedTuple):
    """The memory of counting, besides the block's."""

    text: U8
    arena: U8  # the distinct pre-tokens, concatenated in the order of first occurrence
    ends: U32  # of the pre-tokens of a block
    slots: U32  # of a batch
    slot_of: U32  # of each distinct pre-token
    state: U64
    table: U64  # 4 words per slot: key (of a long one: hash, 255 and length), offset in `arena`, count
    low: U64  # keys of a batch
    high: U64


@jit
def open_count_tables(u8: Any, u32: Any, u64: Any) -> CountTables:
    """Return the tables from the lists of addresses; `counter.py` puts those of the block first."""
    return CountTables(u8[2], u8[5], u32[0], u32[1], u32[2], u64[0], u64[1], u64[2], u64[3])


@jit
def count(u8: Any, u32: Any, u64: Any, data: U8, n: int, pattern: int) -> int:
    """Count the pre-tokens of n bytes of UTF-8, starting at state[POSITION], which is updated.

    Returns COUNT_DONE, or what must grow before it can go on (`struct_layout.py`).
    """
    block, tables = open_block(u8, u32, u64), open_count_tables(u8, u32, u64)
    state = tables.state
    position = int64(state[POSITION])
    while position < n:
        length = next_block(block, data, position, n, pattern)
        if length == 0:
            return COUNT_NEEDS_BUFFERS
        pretokens = collect(block, length)
        if int64(state[WORDS]) + pretokens > int64(state[WORD_ROOM]):
            return COUNT_NEEDS_WORDS
        if int64(state[ARENA_USED]) + length > int64(state[ARENA_ROOM]):
            return COUNT_NEEDS_ARENA
        if 2 * (int64(state[WORDS]) + pretokens) > 1 << int64(state[TABLE_BITS]):
            return COUNT_NEEDS_TABLE
        start = first = int64(0)
        while first < pretokens:
            last = min(first + BATCH, pretokens)
            count_batch(tables, start, first, last)
            start = int64(tables.ends[last - 1])
            first = last
        position += length
        state[POSITION] = uint64(position)
    return COUNT_DONE


@jit
def count_batch(tables: CountTables, start: int, first: int, last: int) -> None:
    """Count the pre-tokens first..last of the block. Computes all keys first, so that memory accesses overlap."""
    table, lows, highs, slots, ends = tables.table, tables.low, tables.high, tables.slots, tables.ends
    shift = uint64(64) - tables.state[TABLE_BITS]
    begin = start
    touched = uint64(0)
    for k in range(last - first):
        end = int64(ends[first + k])
        low, high = key_of(tables.text, begin, end - begin)
        if end - begin > 15:
            low = uint64(0)
            for i in range(begin, end - 8, 8):
                low = hash_key(low, load64(tables.text, i))
            low = hash_key(low, load64(tables.text, end - 8))
            high = uint64(255) << uint64(56) | uint64(end - begin)
        lows[k] = low
        highs[k] = high
        slots[k] = uint32(hash_key(low, high) >> shift)
        touched |= table[int64(slots[k]) << 2]
        begin = end
    lows[BATCH] = touched  # otherwise LLVM would remove the reads above
    begin = start
    for k in range(last - first):
        end = int64(ends[first + k])
        slot = find_word(tables, begin, end, lows[k], highs[k], int64(slots[k]))
        table[slot << 2 | 3] += uint64(1)
        begin = end


@jit
def find_word(tables: CountTables, begin: int, end: int, low: Any, high: Any, slot: int) -> int:
    """Return the slot of a pre-token, which is entered if it is new."""
    table, state, text, arena = tables.table, tables.state, tables.text, tables.arena
    while table[slot << 2 | 1] != 0:
        if table[slot << 2] == low and table[slot << 2 | 1] == high:
            same = True
            if end - begin > 15:
                kept = int64(table[slot << 2 | 2])
                for i in range(end - begin):
                    same &= arena[kept + i] == text[begin + i]
            if same:
                return slot
        slot = (slot + 1) & ((1 << int64(state[TABLE_BITS])) - 1)
    kept = int64(state[ARENA_USED])
    for i in range(end - begin):
        arena[kept + i] = text[begin + i]
    table[slot << 2] = low
    table[slot << 2 | 1] = high
    table[slot << 2 | 2] = uint64(kept)
    tables.slot_of[int64(state[WORDS])] = uint32(slot)
    state[ARENA_USED] = uint64(kept + end - begin)
    state[WORDS] += uint64(1)
    return slot


@jit
def rehash(u8: Any, u32: Any, u64: Any, old: U64) -> int:
    """Move all words from an old table into the new, larger one."""
    tables = open_count_tables(u8, u32, u64)
    table, bits = tables.table, int64(tables.state[TABLE_BITS])
    for word in range(int64(tables.state[WORDS])):
        was = int64(tables.slot_of[word]) << 2
        slot = int64(hash_key(old[was], old[was + 1]) >> uint64(64 - bits))
        while table[slot << 2 | 1] != 0:
            slot = (slot + 1) & ((1 << bits) - 1)
        for i in range(4):
            table[slot << 2 | i] = old[was + i]
        tables.slot_of[word] = uint32(slot)
    return 0


@jit
def words(u8: Any, u32: Any, u64: Any, offsets: U64, counts: U64) -> int:
    """Write offset in `arena` and count of each distinct pre-token, by first occurrence. Returns their number."""
    tables = open_count_tables(u8, u32, u64)
    number = int64(tables.state[WORDS])
    for word in range(number):
        slot = int64(tables.slot_of[word]) << 2
        offsets[word] = tables.table[slot | 2]
        counts[word] = tables.table[slot | 3]
    return number
