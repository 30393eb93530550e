"""The patterns cl100k and o200k as hand-written scanners: pre-token by pre-token, the alternatives in their order."""

from __future__ import annotations

from bpe.fast.kernels.classes import character_length
from bpe.fast.kernels.tables import U8, Block, int64, jit
from bpe.fast.struct_layout import CL100K
from bpe.unicode_classes import CASELESS, LOWER, MARK, NUMBER, OTHER, SPACE, UPPER


@jit
def split_scan(block: Block, n: int, pattern: int) -> None:
    """Write `starts` for the n bytes of `text`."""
    text, classes, starts = block.text, block.classes, block.starts
    classes[n] = 255  # a class that no character has, so every run ends here
    for i in range(n):
        starts[i] = 0
    i = int64(0)
    while i < n:
        starts[i] = 1
        if pattern == CL100K:
            i = next_cl100k(text, classes, i, n)
        else:
            i = next_o200k(text, classes, i)


@jit
def next_cl100k(text: U8, classes: U8, i: int, n: int) -> int:
    """Return the end of the pre-token that starts at i.

    `'(?i:[sdmt]|ll|ve|re)|[^\\r\\n L N]?+L++|N{1,3}+| ?[^\\s L N]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s`
    """
    here = classes[i]
    length = any_case_contraction(text, i)
    if length:
        return i + length
    word = i if here == LOWER else after_prefix(text, classes, i)
    if classes[word] == LOWER:
        return run(classes, word, LOWER)
    if here == NUMBER:
        return three_numbers(text, classes, i)
    symbols = i + 1 if text[i] == 32 else i
    if classes[symbols] == OTHER:
        end = run(classes, symbols, OTHER)
        while text[end] == 10 or text[end] == 13:
            end += 1
        return end
    end = run(classes, i, SPACE)
    if end == n:
        return end
    return white_space(text, classes, i, end)


@jit
def next_o200k(text: U8, classes: U8, i: int) -> int:
    """Return the end of the pre-token that starts at i.

    With A = [Lu Lt Lm Lo M], B = [Ll Lm Lo M], c = (?i:'s|'t|'re|'ve|'m|'ll|'d):
    `[^\\r\\n L N]?A*B+c?|[^\\r\\n L N]?A+B*c?|N{1,3}| ?[^\\s L N]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
    """
    here = classes[i]
    letter = (here == UPPER) | (here == LOWER) | (here == CASELESS)
    start = i if letter else after_prefix(text, classes, i)
    end = word_with_lower(classes, start)
    if end == start and here == MARK:  # the mark is not a prefix but the first letter of the word
        start = i
        end = word_with_lower(classes, start)
    if end == start:
        end = run(classes, start, UPPER)  # with anything but capitals, the first alternative would have matched
    if end > start:
        return end + any_case_contraction(text, end)
    if here == NUMBER:
        return three_numbers(text, classes, i)
    symbols = i + 1 if text[i] == 32 else i
    end = symbols
    while classes[end] == OTHER or classes[end] == MARK:
        end += 1
    if end > symbols:
        while text[end] == 10 or text[end] == 13 or text[end] == 47:
            end += 1
        return end
    return white_space(text, classes, i, run(classes, i, SPACE))


@jit
def word_with_lower(classes: U8, start: int) -> int:
    """Return the end of A*B+ from `start`, or `start`. A* is greedy; if no lower case follows, it gives back to B+."""
    end = start
    last = start  # end of the last character that B+ can match, too
    while (classes[end] == UPPER) | (classes[end] == CASELESS) | (classes[end] == MARK):
        end += 1
        if classes[end - 1] != UPPER:
            last = end
    if classes[end] != LOWER:
        return last
    while (classes[end] == LOWER) | (classes[end] == CASELESS) | (classes[end] == MARK):
        end += 1
    return end


@jit
def run(classes: U8, i: int, wanted: int) -> int:
    """Return the end of the run of one class from i."""
    while classes[i] == wanted:
        i += 1
    return i


@jit
def after_prefix(text: U8, classes: U8, i: int) -> int:
    """Return the offset after the character at i if it matches `[^\\r\\n L N]`, which may precede a word; else i."""
    here = classes[i]
    if (text[i] == 10) | (text[i] == 13) | ((here != OTHER) & (here != MARK) & (here != SPACE)):
        return i
    return i + character_length(text[i])


@jit
def three_numbers(text: U8, classes: U8, i: int) -> int:
    """Return the end of one to three number characters."""
    for _ in range(3):
        if classes[i] == NUMBER:
            i += character_length(text[i])
    return i


@jit
def any_case_contraction(text: U8, i: int) -> int:
    """Return the length of `(?i:'s|'d|'m|'t|'ll|'ve|'re)` at i, or 0. Without case, ſ (U+017F, bytes C5 BF) is an s."""
    if text[i] != 39:
        return 0
    first, second = text[i + 1] | 32, text[i + 2] | 32
    if (first == 115) | (first == 100) | (first == 109) | (first == 116):
        return 2
    if ((first == 108) & (second == 108)) | (((first == 118) | (first == 114)) & (second == 101)):
        return 3
    if (text[i + 1] == 0xC5) & (text[i + 2] == 0xBF):
        return 3
    return 0


@jit
def white_space(text: U8, classes: U8, i: int, end: int) -> int:
    """Return the end of the pre-token that starts the white space i..end: its last line break, or all but its last."""
    k = end
    while k > i:
        if text[k - 1] == 10 or text[k - 1] == 13:
            return k
        k -= 1
    if classes[end] == 255:
        return end
    last = end - 1
    while text[last] & 0xC0 == 0x80:
        last -= 1
    return last if last > i else end
