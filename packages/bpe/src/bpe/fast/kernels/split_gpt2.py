"""GPT-2's pattern without a regular expression: whether a pre-token starts depends on three adjacent bytes."""

from __future__ import annotations

from typing import Any

from bpe.fast.kernels.classes import HIGH_BITS, character_length
from bpe.fast.kernels.tables import Block, int64, jit, load64, uint64
from bpe.unicode_classes import SPACE


@jit
def split_gpt2(block: Block, n: int, kind: int) -> None:
    """Write `starts` for `'(?:[sdmt]|ll|ve|re)| ?L+| ?N+| ?[^\\s L N]+|\\s+(?!\\S)|\\s`.

    kind: the result of `classify`. A pre-token starts where the class changes, except after one space (byte 32), which
    belongs to what follows it. The last of several white-space characters before a word stands alone or belongs to the
    word. This loop has no branch, so LLVM makes it vector instructions. Contractions and white space of several bytes
    are corrected afterward.
    """
    text, classes, starts = block.text, block.classes, block.starts
    classes[n] = SPACE  # at the end of the text, white space keeps its last character
    starts[0] = 1
    for i in range(1, n):
        here, before = classes[i], classes[i - 1]
        space = here == SPACE
        starts[i] = ((here != before) & ((text[i - 1] != 32) | space)) | (space & (classes[i + 1] != SPACE))
    for k in range(kind - 1):
        wide_space(block, int64(block.ends[k]))
    i = 0
    while i < n:
        if not has_apostrophe(load64(text, i)):
            i += 8
            continue
        if text[i] == 39 and starts[i]:
            length = contraction(text[i + 1], text[i + 2])
            if length:
                starts[i + 1] = 0
                starts[i + length] = 1  # may be a byte of the padding
        i += 1


@jit
def has_apostrophe(word: Any) -> Any:
    """Return whether one of eight bytes is 39: the usual test for a zero byte, after an xor of each byte with 39."""
    word ^= uint64(0x2727272727272727)
    return (word - uint64(0x0101010101010101)) & ~word & uint64(HIGH_BITS) != 0


@jit
def contraction(first: int, second: int) -> int:
    """Return the length of `'s 'd 'm 't 'll 've 're` with its apostrophe, or 0, from the two bytes after it."""
    if (first == 115) | (first == 100) | (first == 109) | (first == 116):
        return 2
    if ((first == 108) & (second == 108)) | (((first == 118) | (first == 114)) & (second == 101)):
        return 3
    return 0


@jit
def wide_space(block: Block, i: int) -> None:
    """Correct `starts` for white space of two or three bytes: only its first byte can start a pre-token."""
    classes, starts = block.classes, block.starts
    length = character_length(block.text[i])
    if i > 0:
        starts[i] = (classes[i - 1] != SPACE) | (classes[i + length] != SPACE)
    for k in range(i + 1, i + length):
        starts[k] = 0
