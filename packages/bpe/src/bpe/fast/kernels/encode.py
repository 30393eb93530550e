"""Text to ids, one block at a time: copy, classify, cut, split, look up."""

from __future__ import annotations

from typing import Any

from bpe.fast.kernels.cache import fill_with_tokens, full, look_up
from bpe.fast.kernels.classes import HIGH_BITS, classify
from bpe.fast.kernels.split_gpt2 import split_gpt2
from bpe.fast.kernels.split_scan import split_scan
from bpe.fast.kernels.tables import (
    JOINABLE,
    U8,
    U64,
    Block,
    int64,
    jit,
    load64,
    open_block,
    open_cache,
    open_merger,
    uint32,
    uint64,
)
from bpe.fast.struct_layout import (
    ASCII,
    AT_ID,
    AT_POSITION,
    AT_PRETOKEN,
    AT_TEXT,
    AT_TEXT_ID,
    BATCH,
    BLOCK,
    CACHED,
    CAPACITY,
    GIVEN_ENDS,
    GPT2,
    NEEDS_BUFFERS,
    NEEDS_TABLE,
    PADDING,
    SPLIT_UNJOINABLE,
)
from bpe.unicode_classes import OTHER, SPACE


@jit
def fill(block: Block, data: U8, position: int, n: int, size: int) -> int:
    """Copy up to `size` bytes of complete characters from `position` to `text`, then zeros. Returns their number."""
    length = min(size, n - position)
    if position + length < n:
        while length > 0 and data[position + length] & 0xC0 == 0x80:
            length -= 1
    for i in range(length):
        block.text[i] = data[position + i]
    for i in range(length, length + PADDING):
        block.text[i] = 0
    return length


@jit
def last_safe_cut(block: Block, length: int, pattern: int) -> int:
    """Return the last offset in the block at which any text can be cut without changing a pre-token, or 0.

    GPT-2's pattern: before white space that follows something else. In the other patterns punctuation extends into line
    breaks, so there: before a space (byte 32) that does not follow white space; before any ASCII white space after a
    word or number; and before a word or number after a line break.
    """
    text, classes = block.text, block.classes
    k = length - 1
    while k > 0:
        before = classes[k - 1]
        space = classes[k] == SPACE
        solid = (before != SPACE) if (pattern == GPT2) | (text[k] == 32) else (before != SPACE) & (before != OTHER)
        if space & solid & (text[k] < 128):
            return k
        if (pattern != GPT2) & (text[k - 1] == 10) & (text[k] < 128) & (classes[k] != OTHER) & (not space):
            return k
        k -= 1
    return 0


@jit
def next_block(block: Block, data: U8, position: int, n: int, pattern: int) -> int:
    """Read the next block, shorten it to its last safe cut and mark `starts`.

    Returns its length, or 0 if it needs larger buffers. A block has BLOCK bytes; one without a safe cut grows up to the
    capacity of the buffers.
    """
    size = BLOCK
    while True:
        length = fill(block, data, position, n, size)
        classified = classify(block, length, pattern)
        if position + length < n:
            length = last_safe_cut(block, length, pattern)
        if length > 0:
            break
        if size == int64(block.state[CAPACITY]):
            return 0
        size = min(2 * size, int64(block.state[CAPACITY]))
    for i in range(length, length + PADDING):
        block.text[i] = 0
    block.state[ASCII] = classified == 0
    if pattern == GPT2:
        split_gpt2(block, length, classified)
    else:
        split_scan(block, length, pattern)
    return length


@jit
def given_block(block: Block, data: U8, position: int, n: int, pretoken_ends: Any, pretoken: int) -> int:
    """Read given pre-tokens that fit into a block and mark `starts`. Returns the length; 0: needs larger buffers."""
    length = int64(pretoken_ends[pretoken]) - position
    k = pretoken
    while position + length < n and int64(pretoken_ends[k + 1]) - position <= BLOCK:
        k += 1
        length = int64(pretoken_ends[k]) - position
    if length > int64(block.state[CAPACITY]):
        return 0
    for i in range(length):
        block.text[i] = data[position + i]
        block.starts[i] = 0
    for i in range(length, length + PADDING):
        block.text[i] = 0
    block.starts[0] = 1
    block.state[ASCII] = 0  # unknown
    for j in range(pretoken, k):
        block.starts[int64(pretoken_ends[j]) - position] = 1
    return length


@jit
def split_unjoinable(block: Block, joinable: U8, length: int) -> None:
    """Start a pre-token wherever two bytes meet that no token holds side by side, because merges never cross there.

    Text in scripts with few tokens then splits into characters, which the cache holds. Only bytes above 127 are
    examined.
    """
    text = block.text
    i = 1
    while i < length:
        if text[i] < 0x80:
            i += 1 if load64(text, i) & uint64(HIGH_BITS) else 8
            continue
        if text[i] >= 0xC0 and text[i - 1] >= 0x80:
            block.starts[i] |= joinable[int64(text[i - 1]) << 8 | int64(text[i])] ^ 1
        i += 1


@jit
def collect(block: Block, length: int) -> int:
    """Convert `starts` to `ends`. Returns the number of pre-tokens."""
    count = 0
    for i in range(1, length):
        block.ends[count] = uint32(i)
        count += int64(block.starts[i])
    block.ends[count] = uint32(length)
    return count + 1


@jit
def encode(
    u8: Any,
    u32: Any,
    u64: Any,
    data: U8,
    n: int,
    pattern: int,
    keep: int,
    pretoken_ends: Any,
    out: Any,
    num_texts: int,
    text_ends: Any,
    counts: Any,
) -> int:
    """Write the ids of n bytes of UTF-8 to `out`. Returns their number, or what it needs before it can go on.

    NEEDS_BUFFERS: larger buffers for a long pre-token; NEEDS_TABLE: another table, because this one is nearly full.
    Called again with the same arguments, it goes on where it was.

    With keep = 0 the ids are only counted. The ids of a batch are collected in `ids`, which stays in the L1 cache;
    writing pre-tokens to the long `out` directly would stall the processor.

    The bytes may be several texts, one after another: no pre-token spans two of them, and `counts` gets the number of
    ids of each. One call for many texts, because threads that return to Python for each would contend for the GIL.
    """
    block, merger, memory = open_block(u8, u32, u64), open_merger(u8, u32, u64), open_cache(u8, u32, u64)
    if memory.filled[CACHED] == 0:
        fill_with_tokens(memory)
    state, zero = block.state, int64(0)
    at, before = int64(state[AT_ID]), int64(state[AT_TEXT_ID])
    position, pretoken = int64(state[AT_POSITION]), int64(state[AT_PRETOKEN])
    for number in range(int64(state[AT_TEXT]), num_texts):
        end = n if num_texts == 1 else int64(text_ends[number])
        while position < end:
            if full(memory, 6):
                keep_place(state, number, position, pretoken, at, before)
                return NEEDS_TABLE
            if pattern == GIVEN_ENDS:
                length = given_block(block, data, position, end, pretoken_ends, pretoken)
            else:
                length = next_block(block, data, position, end, pattern)
            if length == 0:
                keep_place(state, number, position, pretoken, at, before)
                return NEEDS_BUFFERS
            if pattern == GIVEN_ENDS:
                while int64(pretoken_ends[pretoken]) < position + length:
                    pretoken += 1
                pretoken += 1
            if memory.facts[SPLIT_UNJOINABLE] and not block.state[ASCII]:
                split_unjoinable(block, u8[JOINABLE], length)
            pretokens = collect(block, length)
            start = first = zero
            while first < pretokens:
                last = min(first + BATCH, pretokens)
                count = look_up(memory, merger, start, first, last, memory.ids, zero)
                if keep:
                    for i in range(count):
                        out[at + i] = memory.ids[i]
                at += count
                start = int64(block.ends[last - 1])
                first = last
            position += length
        if num_texts > 1:
            counts[number] = uint64(at - before)
        before = at
    keep_place(state, zero, zero, zero, zero, zero)
    return at


@jit
def keep_place(state: U64, text: int, position: int, pretoken: int, at: int, before: int) -> None:
    """Store where the next call goes on; zeros: at the start of a text."""
    state[AT_TEXT], state[AT_POSITION], state[AT_PRETOKEN] = uint64(text), uint64(position), uint64(pretoken)
    state[AT_ID], state[AT_TEXT_ID] = uint64(at), uint64(before)


@jit
def split(u8: Any, u32: Any, u64: Any, data: U8, n: int, pattern: int, out: Any) -> int:
    """Write the ends of the pre-tokens of n bytes. Returns their number, or NEEDS_BUFFERS."""
    block = open_block(u8, u32, u64)
    position = count = int64(0)
    while position < n:
        length = next_block(block, data, position, n, pattern)
        if length == 0:
            return NEEDS_BUFFERS
        pretokens = collect(block, length)
        for k in range(pretokens):
            out[count + k] = uint64(position) + uint64(block.ends[k])
        count += pretokens
        position += length
    return count
