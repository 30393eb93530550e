"""What the kernels are written in: the decorator, pointers by width, and the tables of encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])
U8 = Any  # uint8*,  a pointer that is indexed and written like an array
U32 = Any  # uint32*
U64 = Any  # uint64*

types: Any = numba.types
uint8: Any = types.uint8  # to numba these are types, which convert; to a type checker functions
uint32: Any = types.uint32
uint64: Any = types.uint64
int64: Callable[[Any], int] = types.int64

NONE = 0xFFFFFFFF  # no token, no rank, no position: greater than every one of them


def jit(function: F) -> F:
    """Compile as part of whatever entry point calls it.

    A function is compiled once for each combination of types it is called with, and a literal is a type of its own to
    numba: so counters that are handed on start from int64(0), not from 0.
    """
    return cast(F, numba.njit(error_model="numpy")(function))


def inlined(function: F) -> F:
    """The same as part of its callers' own code: a call would put every pointer of a table on the stack."""
    return cast(F, numba.njit(error_model="numpy", forceinline=True)(function))


class Block(NamedTuple):
    """A block of text on its way from bytes to pieces."""

    class_of_block: U8  # code point // 128 -> row of `class_of`
    class_of: U8  # rows of 128 classes
    text: U8  # the bytes, followed by zeros
    classes: U8  # class of the character that each byte belongs to
    starts: U8  # 1 where a piece starts
    ends: U32  # end of each piece
    state: U64  # see `struct_layout.py`


class Merger(NamedTuple):
    """What merging one piece reads, and the room it works in."""

    text: U8
    byte_ids: U32  # byte -> id
    bigrams: U32  # [left byte * 256 + right byte] -> id or NONE
    pairs: U64  # hash table: left id, right id -> id
    facts: U64  # sizes, see `struct_layout.py`
    symbols: U32  # ids
    ranks: U32  # rank of the pair that starts here
    links: U8  # neighbours within a short piece
    following: U32  # position of the next symbol in a long one
    preceding: U32  # and of the one before
    heap: U64


class Cache(NamedTuple):
    """From piece to ids: what a thread remembers, a batch of pieces that is looked up, and the tokens."""

    text: U8
    ends: U32
    state: U64
    facts: U64
    cache: U64  # hash table of short pieces: 4 words per slot
    cache32: U32  # the same memory
    pool: U32  # ids of the pieces that have more than four, and of long ones
    long_cache: U64  # hash table of long pieces: 4 words per slot
    arena: U8  # their bytes
    low: U64  # keys of a batch
    high: U64
    slots: U32  # the slot where each of a batch is looked for first
    found: U8  # and whether it sits there
    ids: U32  # and the ids of all
    token_low: U64  # key of every token of at most 15 bytes …
    token_high: U64
    token_id: U64
    unmerged: U8  # long tokens that merging never makes, one after another
    unmerged_lengths: U32
    unmerged_ids: U32


# The order of the arrays of each width:
#   8 bits: class_of_block class_of text classes starts links arena found unmerged joinable
#  32 bits: ends byte_ids bigrams symbols ranks following preceding cache pool slots unmerged_lengths unmerged_ids ids
#  64 bits: state pairs facts heap cache long_cache low high token_low token_high token_id
JOINABLE = 9


@jit
def open_block(u8: Any, u32: Any, u64: Any) -> Block:
    """The tables of a block, from the lists of addresses."""
    return Block(u8[0], u8[1], u8[2], u8[3], u8[4], u32[0], u64[0])


@jit
def open_merger(u8: Any, u32: Any, u64: Any) -> Merger:
    """The tables of merging."""
    return Merger(u8[2], u32[1], u32[2], u64[1], u64[2], u32[3], u32[4], u8[5], u32[5], u32[6], u64[3])


@jit
def open_cache(u8: Any, u32: Any, u64: Any) -> Cache:
    """The tables of looking up."""
    return Cache(
        u8[2], u32[0], u64[0], u64[2], u64[4], u32[7], u32[8], u64[5], u8[6],
        u64[6], u64[7], u32[9], u8[7], u32[12], u64[8], u64[9], u64[10], u8[8], u32[10], u32[11],
    )  # fmt: skip


@jit
def load64(data: U8, i: int) -> Any:
    """The eight bytes from position i as one little-endian word (LLVM makes this a single load)."""
    low = uint64(data[i]) | uint64(data[i + 1]) << uint64(8)
    low |= uint64(data[i + 2]) << uint64(16) | uint64(data[i + 3]) << uint64(24)
    high = uint64(data[i + 4]) | uint64(data[i + 5]) << uint64(8)
    high |= uint64(data[i + 6]) << uint64(16) | uint64(data[i + 7]) << uint64(24)
    return low | high << uint64(32)
