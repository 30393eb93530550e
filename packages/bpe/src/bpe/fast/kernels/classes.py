"""The class of every character, written to each of its bytes."""

from __future__ import annotations

from bpe.fast.kernels.tables import Block, int64, jit, load64, uint8, uint64
from bpe.fast.struct_layout import O200K
from bpe.unicode_classes import CASELESS, LOWER, MARK, NUMBER, OTHER, SPACE, UPPER

HIGH_BITS = 0x8080808080808080  # set in bytes above 127


@jit
def classify(block: Block, n: int, pattern: int) -> int:
    """Write `classes` for n bytes of `text`. Returns 0 if all are ASCII, else 1 + the number of non-ASCII spaces.

    The offsets of these spaces are left in `ends`, which the pre-tokens will overwrite.
    GPT-2's pattern and cl100k have one class of letters (LOWER here) and no marks (OTHER).
    ASCII is classified by arithmetic on bytes, which LLVM turns into vector instructions.
    """
    text, classes = block.text, block.classes
    cased = pattern == O200K
    upper = uint8(UPPER) if cased else uint8(LOWER)
    every = uint8(0)
    for i in range(n):
        every |= text[i]
    for i in range(n):
        byte = text[i]
        lower_letter = uint8(LOWER) if uint8(byte - 97) < 26 else uint8(OTHER)
        upper_letter = upper if uint8(byte - 65) < 26 else uint8(OTHER)
        number = uint8(NUMBER) if uint8(byte - 48) < 10 else uint8(OTHER)
        space = uint8(SPACE) if (byte == 32) | (uint8(byte - 9) < 5) else uint8(OTHER)
        classes[i] = lower_letter | upper_letter | number | space  # at most one of them is not OTHER, which is 0
    if every < 128:
        return 0
    spaces = 0
    i = 0
    while i < n:
        lead = int64(text[i])
        if lead < 0x80:  # skip one byte, or eight if all of them are ASCII
            i += 1 if load64(text, i) & uint64(HIGH_BITS) else 8
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
            block.ends[spaces] = i
            spaces += 1
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
    """Return the number of bytes of the character that starts with this byte."""
    return 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0)
