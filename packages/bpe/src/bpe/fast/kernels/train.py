"""Learn merges (1508.07909, algorithm 1), where each merge updates only the positions at which its pair occurs.

The distinct pre-tokens are concatenated in one text, with a separator before each. A symbol is identified by its first
position (`start`) and its last (`finish`), so its length gives its neighbors, without links. Each pair has its count
and the list of its positions in ascending order; outdated positions are skipped. A merge walks that list, sums the
gains and losses per neighbor, and then updates the tables of pairs once per distinct neighbor.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bpe.fast.kernels.merge import GOLDEN
from bpe.fast.kernels.queue import best_pair, lower, push_pair
from bpe.fast.kernels.tables import NONE, U8, U32, U64, int64, jit, uint32, uint64
from bpe.fast.struct_layout import (
    COUNT,
    KEY,
    LAST,
    LEAST,
    MERGES,
    NEXT,
    PAIR_ROOM,
    PAIRS,
    POSITION_ROOM,
    POSITIONS,
    TABLE_SIZE,
    TRAIN_DONE,
    TRAIN_NEEDS_PAIRS,
    TRAIN_NEEDS_POSITIONS,
)


class TrainTables(NamedTuple):
    """The memory of training; `trainer.py` allocates it in this order within each width."""

    text: U8  # the pre-tokens' bytes

    start: U32  # [position] the symbol that starts there, or NONE
    finish: U32  # [position] the symbol that ends there; valid only where one does
    word: U32  # [position] the number of the pre-token
    length: U32  # [symbol] number of its bytes
    example: U32  # [symbol] a position where it has occurred
    positions: U32  # the lists of all pairs
    before_position: U32  # of one merge: start of the previous symbol at each occurrence
    before_symbol: U32  # and its id
    after_position: U32
    after_symbol: U32
    befores: U32  # the distinct previous symbols
    afters: U32
    before_count: U32  # [symbol] how many; later the next index in its list
    after_count: U32
    heap_pair: U32

    state: U64
    weight: U64  # [pre-token] how often it occurs
    pairs: U64  # 4 words per pair, see `struct_layout.py`
    table: U64  # hash table: the upper half of the hash, and number of the pair + 1
    before_weight: U64  # [symbol] of one merge: occurrences in the corpus
    after_weight: U64
    heap_count: U64
    heap_tie: U64
    merges: U64  # left id << 32 | right id


@jit
def open_train_tables(u8: Any, u32: Any, u64: Any) -> TrainTables:
    """Return the tables from the lists of addresses."""
    return TrainTables(
        u8[0],
        u32[0], u32[1], u32[2], u32[3], u32[4], u32[5], u32[6], u32[7], u32[8], u32[9], u32[10], u32[11], u32[12],
        u32[13], u32[14],
        u64[0], u64[1], u64[2], u64[3], u64[4], u64[5], u64[6], u64[7], u64[8],
    )  # fmt: skip


@jit
def find_pair_of(tables: TrainTables, left: Any, right: Any) -> int:
    """Return the number of a pair. A new pair is entered with count 0 and no positions."""
    pairs, table, state = tables.pairs, tables.table, tables.state
    key = uint64(left) << uint64(32) | uint64(right)
    mixed = (key ^ key >> uint64(29)) * uint64(GOLDEN)
    bits = state[TABLE_SIZE]
    slot = int64(mixed >> (uint64(64) - bits))
    tag = mixed & uint64(0xFFFFFFFF)
    while table[slot] != 0:
        if table[slot] >> uint64(32) == tag:
            pair = int64(table[slot] & uint64(0xFFFFFFFF)) - 1
            if pairs[pair << 2 | KEY] == key:
                return pair
        slot = (slot + 1) & ((1 << int64(bits)) - 1)
    pair = int64(state[PAIRS])
    table[slot] = tag << uint64(32) | uint64(pair + 1)
    pairs[pair << 2 | KEY] = key
    pairs[pair << 2 | COUNT] = 0
    pairs[pair << 2 | NEXT] = 0
    pairs[pair << 2 | LAST] = 0
    state[PAIRS] = uint64(pair + 1)
    return pair


@jit
def rebuild_table(u8: Any, u32: Any, u64: Any) -> int:
    """Fill a new, larger hash table."""
    tables = open_train_tables(u8, u32, u64)
    bits = int64(tables.state[TABLE_SIZE])
    for pair in range(int64(tables.state[PAIRS])):
        key = tables.pairs[pair << 2 | KEY]
        mixed = (key ^ key >> uint64(29)) * uint64(GOLDEN)
        slot = int64(mixed >> uint64(64 - bits))
        while tables.table[slot] != 0:
            slot = (slot + 1) & ((1 << bits) - 1)
        tables.table[slot] = (mixed & uint64(0xFFFFFFFF)) << uint64(32) | uint64(pair + 1)
    return 0


@jit
def lay_out(u8: Any, u32: Any, u64: Any, data: U8, word_ends: U64, number: int) -> int:
    """Lay out the pre-tokens, a separator before each and after the last, and list the positions of all byte pairs."""
    tables = open_train_tables(u8, u32, u64)
    at = begin = 0
    for word in range(number):
        tables.start[at] = tables.finish[at] = uint32(NONE)
        tables.text[at] = 0
        at += 1
        end = int64(word_ends[word])
        for i in range(begin, end):
            byte = data[i]
            tables.text[at] = byte
            tables.start[at] = tables.finish[at] = uint32(byte)
            tables.word[at] = uint32(word)
            tables.example[byte] = uint32(at)
            tables.length[byte] = 1
            if i > begin:
                pair = find_pair_of(tables, data[i - 1], byte)
                tables.pairs[pair << 2 | COUNT] += tables.weight[word]
                tables.pairs[pair << 2 | LAST] += uint64(1)
            at += 1
        begin = end
    tables.start[at] = tables.finish[at] = uint32(NONE)
    pairs = tables.pairs
    first = uint64(0)
    most = uint64(0)
    for pair in range(int64(tables.state[PAIRS])):  # from the lengths of lists to their starts and current ends
        longer = first + pairs[pair << 2 | LAST]
        pairs[pair << 2 | NEXT] = pairs[pair << 2 | LAST] = first
        first = longer
        most = max(most, pairs[pair << 2 | COUNT])
    for position in range(1, at):
        left, right = tables.start[position], tables.start[position + 1]
        if left != NONE and right != NONE:
            pair = find_pair_of(tables, left, right)
            tables.positions[int64(pairs[pair << 2 | LAST])] = uint32(position)
            pairs[pair << 2 | LAST] += uint64(1)
    tables.state[POSITIONS] = first
    tables.state[LEAST] = most + uint64(1)  # nothing is on the heap yet
    return 0


@jit
def train(u8: Any, u32: Any, u64: Any, rule: int, until: int, min_frequency: int) -> int:
    """Merge until there are `until` merges or no pair is left. Returns TRAIN_DONE, or what must grow first."""
    tables = open_train_tables(u8, u32, u64)
    state, pairs = tables.state, tables.pairs
    while int64(state[MERGES]) < until:
        pair = best_pair(tables, rule)
        if pair < 0:
            if int64(state[LEAST]) <= max(min_frequency, 1):
                return TRAIN_DONE
            lower(tables, rule, max(min_frequency, 1))
            continue
        number = int64(pairs[pair << 2 | LAST] - pairs[pair << 2 | NEXT])
        if int64(state[PAIRS]) + 2 * min(number, 256 + int64(state[MERGES])) + 2 > int64(state[PAIR_ROOM]):
            return TRAIN_NEEDS_PAIRS
        if int64(state[POSITIONS]) + 2 * number > int64(state[POSITION_ROOM]):
            return TRAIN_NEEDS_POSITIONS
        merge_everywhere(tables, pair, rule)
    return TRAIN_DONE


@jit
def merge_everywhere(tables: TrainTables, pair: int, rule: int) -> None:
    """Replace the pair by a new symbol wherever it occurs, from left to right."""
    state, pairs, start, finish, length = tables.state, tables.pairs, tables.start, tables.finish, tables.length
    key = pairs[pair << 2 | KEY]
    left, right = uint32(key >> uint64(32)), uint32(key & uint64(NONE))
    merge = int64(state[MERGES])
    tables.merges[merge] = key
    state[MERGES] = uint64(merge + 1)
    new = uint32(256 + merge)
    left_length, right_length = int64(length[left]), int64(length[right])
    length[new] = uint32(left_length + right_length)
    befores = afters = distinct_befores = distinct_afters = 0
    for i in range(int64(pairs[pair << 2 | NEXT]), int64(pairs[pair << 2 | LAST])):
        position = int64(tables.positions[i])
        middle = position + left_length
        if start[position] != left or start[middle] != right:
            continue
        end = middle + right_length
        before, after = finish[position - 1], start[end]
        weight = tables.weight[int64(tables.word[position])]
        start[position] = new
        start[middle] = uint32(NONE)
        finish[end - 1] = new
        tables.example[new] = uint32(position)
        if before != NONE:
            tables.before_position[befores] = uint32(position - int64(length[before]))
            tables.before_symbol[befores] = before
            befores += 1
            if tables.before_count[before] == 0:
                tables.befores[distinct_befores] = before
                distinct_befores += 1
            tables.before_count[before] += uint32(1)
            tables.before_weight[before] += weight
        if after != NONE:
            tables.after_position[afters] = uint32(position)
            tables.after_symbol[afters] = after
            afters += 1
            if tables.after_count[after] == 0:
                tables.afters[distinct_afters] = after
                distinct_afters += 1
            tables.after_count[after] += uint32(1)
            tables.after_weight[after] += weight
    first_new = int64(state[PAIRS])
    for i in range(distinct_befores):
        before = tables.befores[i]
        open_list(tables, find_pair_of(tables, before, new), tables.before_weight[before], tables.before_count, before)
    for i in range(distinct_afters):
        after = tables.afters[i]
        open_list(tables, find_pair_of(tables, new, after), tables.after_weight[after], tables.after_count, after)
    for i in range(befores):
        before = tables.before_symbol[i]
        tables.positions[int64(tables.before_count[before])] = tables.before_position[i]
        tables.before_count[before] += uint32(1)
    for i in range(afters):
        after = tables.after_symbol[i]
        tables.positions[int64(tables.after_count[after])] = tables.after_position[i]
        tables.after_count[after] += uint32(1)
    last_new = int64(state[PAIRS])
    for i in range(distinct_befores):  # only now, because the new symbol may be its own neighbor
        before = tables.befores[i]
        lost = find_pair_of(tables, before, left)
        pairs[lost << 2 | COUNT] -= tables.before_weight[before]
        tables.before_count[before] = 0
        tables.before_weight[before] = 0
    for i in range(distinct_afters):
        after = tables.afters[i]
        lost = find_pair_of(tables, right, after)
        pairs[lost << 2 | COUNT] -= tables.after_weight[after]
        tables.after_count[after] = 0
        tables.after_weight[after] = 0
    pairs[pair << 2 | COUNT] = 0
    for created in range(first_new, last_new):
        if pairs[created << 2 | COUNT] >= state[LEAST]:
            push_pair(tables, created, rule)


@jit
def open_list(tables: TrainTables, pair: int, weight: Any, counts: U32, symbol: Any) -> None:
    """Give a new pair its count and a list of counts[symbol] positions, whose start is then in counts[symbol]."""
    pairs, state = tables.pairs, tables.state
    begin = state[POSITIONS]
    number = uint64(counts[symbol])
    pairs[pair << 2 | COUNT] = weight
    pairs[pair << 2 | NEXT] = begin
    pairs[pair << 2 | LAST] = begin + number
    counts[symbol] = uint32(begin)
    state[POSITIONS] = begin + number
