"""What the kernels are written in: the decorators, pointers by width, and the tables of encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])
U8 = Any  # uint8*,  a pointer that is indexed and written like an array
U32 = Any  # uint32*
U64 = Any  # uint64*

types: Any = numba.types
uint8: Any = types.uint8  # for numba these are types that convert; for a type checker, functions
uint32: Any = types.uint32
uint64: Any = types.uint64
int64: Callable[[Any], int] = types.int64

NONE = 0xFFFFFFFF  # no token, rank or position: greater than all of them


def jit(function: F) -> F:
    """Compile as part of the entry points that call it.

    A function is compiled once for each combination of argument types, and to numba a literal has a type of its own.
    Therefore counters that are passed on start from int64(0), not from 0.
    """
    return cast(F, numba.njit(error_model="numpy")(function))


def inlined(function: F) -> F:
    """Compile into the callers' own code: a call would spill every pointer of a table to the stack."""
    return cast(F, numba.njit(error_model="numpy", forceinline=True)(function))


class Block(NamedTuple):
    """A block of text on its way from bytes to pre-tokens."""

    class_of_block: U8  # code point // 128 -> row of `class_of`
    class_of: U8  # rows of 128 classes
    text: U8  # the bytes, followed by zeros
    classes: U8  # class of the character that each byte belongs to
    starts: U8  # 1 where a pre-token starts
    ends: U32  # end of each pre-token
    state: U64  # see `struct_layout.py`


class Merger(NamedTuple):
    """What merging one pre-token reads, and its working memory."""

    text: U8
    byte_ids: U32  # byte -> id
    bigrams: U32  # [left byte * 256 + right byte] -> id or NONE
    pairs: U64  # hash table: left id, right id -> id
    facts: U64  # sizes, see `struct_layout.py`
    symbols: U32  # ids
    ranks: U32  # rank of the pair that starts here
    links: U8  # neighbors in a short pre-token
    following: U32  # position of the next symbol in a long pre-token
    preceding: U32  # position of the previous symbol
    heap: U64


class Cache(NamedTuple):
    """From pre-token to ids: the table of known pre-tokens, the batch that is looked up, and the tokens."""

    text: U8
    ends: U32
    filled: U64  # what the table holds, see `struct_layout.py`
    facts: U64
    cache: U64  # hash table of short pre-tokens: 4 words per slot
    cache32: U32  # the same memory
    pool: U32  # ids of pre-tokens with more than four ids, and of long ones
    long_cache: U64  # hash table of long pre-tokens: 4 words per slot
    arena: U8  # their bytes
    low: U64  # keys of a batch
    high: U64
    slots: U32  # first slot to search for each pre-token of the batch
    found: U8  # whether it is there
    ids: U32  # the ids of the batch
    token_low: U64  # keys of the tokens of at most 15 bytes
    token_high: U64
    token_id: U64
    unmerged: U8  # long tokens that no merge forms, concatenated
    unmerged_lengths: U32
    unmerged_ids: U32


# The order of the arrays of each width:
#   8 bits: class_of_block class_of text classes starts links arena found unmerged joinable
#  32 bits: ends byte_ids bigrams symbols ranks following preceding cache pool slots unmerged_lengths unmerged_ids ids
#  64 bits: state pairs facts heap cache long_cache low high token_low token_high token_id filled
JOINABLE = 9


@jit
def open_block(u8: Any, u32: Any, u64: Any) -> Block:
    """Return the tables of a block from the lists of addresses."""
    return Block(u8[0], u8[1], u8[2], u8[3], u8[4], u32[0], u64[0])


@jit
def open_merger(u8: Any, u32: Any, u64: Any) -> Merger:
    """Return the tables of merging."""
    return Merger(u8[2], u32[1], u32[2], u64[1], u64[2], u32[3], u32[4], u8[5], u32[5], u32[6], u64[3])


@jit
def open_cache(u8: Any, u32: Any, u64: Any) -> Cache:
    """Return the tables of the cache."""
    return Cache(
        u8[2], u32[0], u64[11], u64[2], u64[4], u32[7], u32[8], u64[5], u8[6],
        u64[6], u64[7], u32[9], u8[7], u32[12], u64[8], u64[9], u64[10], u8[8], u32[10], u32[11],
    )  # fmt: skip


@jit
def load64(data: U8, i: int) -> Any:
    """Return the eight bytes from offset i as one little-endian word; LLVM makes this a single load."""
    low = uint64(data[i]) | uint64(data[i + 1]) << uint64(8)
    low |= uint64(data[i + 2]) << uint64(16) | uint64(data[i + 3]) << uint64(24)
    high = uint64(data[i + 4]) | uint64(data[i + 5]) << uint64(8)
    high |= uint64(data[i + 6]) << uint64(16) | uint64(data[i + 7]) << uint64(24)
    return low | high << uint64(32)
