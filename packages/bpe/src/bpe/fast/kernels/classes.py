"""The class of every character, written to each of its bytes."""

from __future__ import annotations

from bpe.fast.kernels.memory import Block, int64, jit, uint8
from bpe.fast.layout import O200K
from bpe.unicode_classes import CASELESS, LOWER, MARK, NUMBER, OTHER, SPACE, UPPER


@jit
def classify(block: Block, n: int, pattern: int) -> int:
    """Write `classes` for n bytes of `text`; 0: only ASCII, 1: other characters too, 2: other white space too.

    GPT-2's pattern and cl100k know one class of letters (LOWER here) and no marks (OTHER).
    ASCII is decided by arithmetic on bytes, which the compiler turns into vector instructions.
    """
    text, classes = block.text, block.classes
    cased = pattern == O200K
    upper = uint8(UPPER) if cased else uint8(LOWER)
    every = uint8(0)
    for i in range(n):
        byte = text[i]
        found = uint8(OTHER)
        if uint8(byte - 97) < 26:
            found = uint8(LOWER)
        if uint8(byte - 65) < 26:
            found = upper
        if uint8(byte - 48) < 10:
            found = uint8(NUMBER)
        if (byte == 32) | (uint8(byte - 9) < 5):
            found = uint8(SPACE)
        classes[i] = found
        every |= byte
    if every < 128:
        return 0
    spaces = 0
    i = 0
    while i < n:
        lead = int64(text[i])
        if lead < 0x80:
            i += 1
            continue
        if lead < 0xE0:
            point, length = (lead & 0x1F) << 6 | int64(text[i + 1]) & 0x3F, 2
        elif lead < 0xF0:
            point, length = (lead & 0x0F) << 12 | (int64(text[i + 1]) & 0x3F) << 6 | int64(text[i + 2]) & 0x3F, 3
        else:
            point = (lead & 0x07) << 18 | (int64(text[i + 1]) & 0x3F) << 12
            point, length = point | (int64(text[i + 2]) & 0x3F) << 6 | int64(text[i + 3]) & 0x3F, 4
        found = block.class_of[int64(block.class_of_block[point >> 7]) << 7 | point & 127]
        if found == SPACE:
            spaces = 1
        elif not cased:
            if found == MARK:
                found = uint8(OTHER)
            elif (found == UPPER) | (found == CASELESS):
                found = uint8(LOWER)
        for k in range(i, i + length):
            classes[k] = found
        i += length
    return 1 + spaces


@jit
def character_length(lead: int) -> int:
    """Bytes of the character that starts with this byte."""
    return 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0)
