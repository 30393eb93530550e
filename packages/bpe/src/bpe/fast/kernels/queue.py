"""The order of pairs: a heap whose entries may be outdated.

After a pair has been formed, its count only falls and its first position only moves back. So an outdated entry ranks
too high, reaches the top, and is pushed again with its current values. Only pairs with at least `LEAST` occurrences are
on the heap, which keeps it small: most pairs are rare and never reach the top. When the heap is empty, `LEAST` is
halved and all pairs are scanned.
"""

from __future__ import annotations

from typing import Any

from bpe.fast.kernels.tables import NONE, int64, jit, uint64
from bpe.fast.struct_layout import BYTES, COUNT, FIRST, KEY, LAST, LEAST, LONGEST_TOKEN, NEXT, PAIRS, WAITING


@jit
def tie_of(tables: Any, pair: int, rule: int) -> Any:
    """Return what is least for the pair that wins a tie: its first position or its ids (BYTES: see `comes_before`)."""
    pairs = tables.pairs
    if rule != FIRST:
        return pairs[pair << 2 | KEY]
    key = pairs[pair << 2 | KEY]
    left, right = key >> uint64(32), key & uint64(NONE)
    i = int64(pairs[pair << 2 | NEXT])
    last = int64(pairs[pair << 2 | LAST]) - 1
    while i < last:
        position = int64(tables.positions[i])
        if tables.start[position] == left and tables.start[position + int64(tables.length[left])] == right:
            break
        i += 1
    pairs[pair << 2 | NEXT] = uint64(i)
    return uint64(tables.positions[i])


@jit
def comes_before(tables: Any, rule: int, count: Any, tie: Any, other_count: Any, other_tie: Any) -> Any:
    """Return whether the first of two pairs is merged before the second."""
    if count != other_count:
        return count > other_count
    if rule != BYTES:
        return tie < other_tie
    order = compare_bytes(tables, tie >> uint64(32), other_tie >> uint64(32))
    if order == 0:
        order = compare_bytes(tables, tie & uint64(NONE), other_tie & uint64(NONE))
    return order > 0


@jit
def compare_bytes(tables: Any, one: Any, other: Any) -> int:
    """Return above 0 if the bytes of symbol `one` are greater, below 0 if they are less, 0 if both are equal."""
    if one == other:
        return 0
    here, there = int64(tables.example[one]), int64(tables.example[other])
    one_length, other_length = int64(tables.length[one]), int64(tables.length[other])
    for i in range(min(one_length, other_length)):
        difference = int64(tables.text[here + i]) - int64(tables.text[there + i])
        if difference != 0:
            return difference
    return one_length - other_length


@jit
def push_pair(tables: Any, pair: int, rule: int) -> None:
    """Push a pair with its current values, unless its token would be too long."""
    key = tables.pairs[pair << 2 | KEY]
    if tables.length[key >> uint64(32)] + tables.length[key & uint64(NONE)] > tables.state[LONGEST_TOKEN]:
        return
    count, tie = tables.pairs[pair << 2 | COUNT], tie_of(tables, pair, rule)
    heap_count, heap_tie, heap_pair = tables.heap_count, tables.heap_tie, tables.heap_pair
    hole = int64(tables.state[WAITING])
    tables.state[WAITING] += uint64(1)
    while hole > 0:
        parent = (hole - 1) >> 1
        if not comes_before(tables, rule, count, tie, heap_count[parent], heap_tie[parent]):
            break
        heap_count[hole], heap_tie[hole], heap_pair[hole] = heap_count[parent], heap_tie[parent], heap_pair[parent]
        hole = parent
    heap_count[hole], heap_tie[hole], heap_pair[hole] = count, tie, pair


@jit
def sink(tables: Any, rule: int, count: Any, tie: Any, pair: Any) -> None:
    """Replace the best entry, and move the new one down to where it belongs."""
    heap_count, heap_tie, heap_pair = tables.heap_count, tables.heap_tie, tables.heap_pair
    waiting = int64(tables.state[WAITING])
    hole = 0
    child = 1
    while child < waiting:
        if child + 1 < waiting and comes_before(
            tables, rule, heap_count[child + 1], heap_tie[child + 1], heap_count[child], heap_tie[child]
        ):
            child += 1
        if not comes_before(tables, rule, heap_count[child], heap_tie[child], count, tie):
            break
        heap_count[hole], heap_tie[hole], heap_pair[hole] = heap_count[child], heap_tie[child], heap_pair[child]
        hole = child
        child = 2 * hole + 1
    heap_count[hole], heap_tie[hole], heap_pair[hole] = count, tie, pair


@jit
def best_pair(tables: Any, rule: int) -> int:
    """Return the pair to merge next, which stays on the heap; -1 if none has `LEAST` occurrences."""
    state = tables.state
    while state[WAITING] > 0 and tables.heap_count[0] >= state[LEAST]:
        pair = int64(tables.heap_pair[0])
        count = tables.pairs[pair << 2 | COUNT]
        if count >= state[LEAST]:
            tie = tie_of(tables, pair, rule)
            if count == tables.heap_count[0] and tie == tables.heap_tie[0]:
                return pair
            sink(tables, rule, count, tie, pair)
        else:  # too rare now; `lower` will push it
            state[WAITING] -= uint64(1)
            last = int64(state[WAITING])
            sink(tables, rule, tables.heap_count[last], tables.heap_tie[last], int64(tables.heap_pair[last]))
    return -1


@jit
def lower(tables: Any, rule: int, least: int) -> None:
    """Halve `LEAST`, but not below `least`, and push all pairs that have as many occurrences."""
    state = tables.state
    state[LEAST] = max(state[LEAST] >> uint64(1), uint64(least))
    state[WAITING] = 0
    for pair in range(int64(state[PAIRS])):
        if tables.pairs[pair << 2 | COUNT] >= state[LEAST]:
            push_pair(tables, pair, rule)
