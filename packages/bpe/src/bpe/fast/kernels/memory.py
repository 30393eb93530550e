"""What every kernel is written in: the decorator, pointers by width, and the tables they point to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
from numba import uint64

F = TypeVar("F", bound=Callable[..., Any])
U8 = Any  # uint8*,  a pointer that is indexed and written like an array
U32 = Any  # uint32*
U64 = Any  # uint64*

NONE = 0xFFFFFFFF  # no token, no rank, no position: greater than every one of them


def jit(function: F) -> F:
    """Compile as part of whatever entry point calls it."""
    return cast(F, numba.njit(error_model="numpy")(function))


class Tables(NamedTuple):
    """All memory that encoding uses; `encoder.py` allocates it, in this order within each width.

    First what depends on the vocabulary only and is shared by all threads, then one thread's cache, then its
    scratch for one block of text.
    """

    class_of_block: U8  # code point // 128 -> row of `class_of`
    class_of: U8  # rows of 128 classes
    joined: U8  # [left byte * 256 + right byte]: some token holds these two bytes side by side
    odd_bytes: U8  # long tokens that merging never makes, one after another
    arena: U8  # the bytes of the cached long pieces
    text: U8  # the block, followed by zeros
    classes: U8  # class of the character that each byte belongs to
    starts: U8  # 1 where a piece starts
    found: U8  # whether a piece of the batch sits in the first slot that was looked at
    links: U8  # neighbours within a short piece while it is merged

    byte_ids: U32  # byte -> id
    bigrams: U32  # [left byte * 256 + right byte] -> id or NONE
    odd_lengths: U32  # of `odd_bytes`
    odd_ids: U32
    cache32: U32  # the same memory as `cache`
    pool: U32  # ids of the cached pieces that have more than four
    ends: U32  # end of each piece of the block
    slots: U32  # slot of each piece of a batch
    symbols: U32  # merging: ids
    ranks: U32  # merging: rank of the pair that starts here
    following: U32  # merging: position of the next symbol
    preceding: U32  # merging: and of the one before

    facts: U64  # sizes, see `layout.py`
    pairs: U64  # hash table: left id, right id -> id
    token_low: U64  # key of every token of at most 15 bytes …
    token_high: U64
    token_id: U64
    state: U64  # how full the cache is, see `layout.py`
    cache: U64  # hash table of short pieces: 4 words per slot
    long_cache: U64  # hash table of long pieces: 4 words per slot
    low: U64  # keys of a batch
    high: U64
    heap: U64  # merging long pieces


@jit
def open_tables(u8: Any, u32: Any, u64: Any) -> Tables:
    """The tables by name. Each argument holds the addresses of the tables of one width."""
    return Tables(
        u8[0], u8[1], u8[2], u8[3], u8[4], u8[5], u8[6], u8[7], u8[8], u8[9],
        u32[0], u32[1], u32[2], u32[3], u32[4], u32[5], u32[6], u32[7], u32[8], u32[9], u32[10], u32[11],
        u64[0], u64[1], u64[2], u64[3], u64[4], u64[5], u64[6], u64[7], u64[8], u64[9], u64[10],
    )  # fmt: skip


@jit
def load64(data: U8, i: int) -> Any:
    """The eight bytes from position i as one little-endian word (LLVM makes this a single load)."""
    low = uint64(data[i]) | uint64(data[i + 1]) << uint64(8)
    low |= uint64(data[i + 2]) << uint64(16) | uint64(data[i + 3]) << uint64(24)
    high = uint64(data[i + 4]) | uint64(data[i + 5]) << uint64(8)
    high |= uint64(data[i + 6]) << uint64(16) | uint64(data[i + 7]) << uint64(24)
    return low | high << uint64(32)
