"""Write src/bpe/unicode_classes.py: which characters the patterns of GPT-2, cl100k and o200k call a letter, a number, …

The source is tiktoken itself: its regex crate follows Unicode 16.0, while `regex`, `re` and `unicodedata` follow
whatever version they were built with. Every code point is put to tiktoken once per class.

    python scripts/write_unicode_classes.py            # writes the file
    python scripts/write_unicode_classes.py --check    # exits 1 where the file says otherwise
"""

from __future__ import annotations

import importlib.metadata
import sys
import textwrap
from pathlib import Path

import tiktoken

TARGET = Path(__file__).parent.parent / "src" / "bpe" / "unicode_classes.py"
EVERY_CHARACTER = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))  # surrogates are no characters

CLASSES = {
    "UPPER": (r"[\p{Lu}\p{Lt}]", "letters with a lower case: Lu, Lt"),
    "LOWER": (r"\p{Ll}", "lower-case letters: Ll"),
    "CASELESS": (r"[\p{Lm}\p{Lo}]", "letters without case: Lm, Lo"),
    "MARK": (r"\p{M}", "accents and vowel signs: Mn, Mc, Me"),
    "NUMBER": (r"\p{N}", "digits and other numbers: Nd, Nl, No"),
    "SPACE": (r"\s", "the property White_Space"),
}


def members(pattern: str) -> list[int]:
    """The code points that tiktoken's regular expressions match with a pattern of one character."""
    every_byte = {bytes([b]): b for b in range(256)}
    oracle = tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=every_byte, special_tokens={})
    return list(map(ord, bytes(oracle.encode_ordinary(EVERY_CHARACTER)).decode("utf-8")))


def ranges(points: list[int]) -> str:
    """`41-5a 100-12e/2 1f1`: first and last in hexadecimal, and the step where it is two (cased letters alternate)."""
    found = []
    i = 0
    while i < len(points):
        runs = []
        for step in (1, 2):
            j = i
            while j + 1 < len(points) and points[j + 1] - points[j] == step:
                j += 1
            runs.append((j, step))
        j, step = max(runs)
        if step == 2 and j == i + 1:  # a pair that only happens to lie two apart
            j = i
        last = f"-{points[j]:x}" + ("/2" if step == 2 else "") if j > i else ""
        found.append(f"{points[i]:x}{last}")
        i = j + 1
    return " ".join(found)


def module() -> str:
    """The text of the module."""
    version = importlib.metadata.version("tiktoken")
    parts = [
        '"""The classes of characters that the patterns tell apart, as tiktoken knows them (Unicode 16.0).',
        "",
        f"Made by scripts/write_unicode_classes.py from tiktoken {version}; not to be edited. `41-5a 100-12e/2 1f1`",
        "means: 0x41 to 0x5a, every second one from 0x100 to 0x12e, and 0x1f1. What is in no class is punctuation, a",
        "symbol or unassigned.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Iterator",
        "",
        "OTHER, " + ", ".join(CLASSES) + f" = range({len(CLASSES) + 1})",
        "",
        "RANGES = {",
    ]
    for name, (pattern, meaning) in CLASSES.items():
        lines = textwrap.wrap(ranges(members(pattern)), 110, break_on_hyphens=False)
        parts.append(f"    # {meaning}")
        if len(lines) == 1:
            parts.append(f'    {name}: ("{lines[0]} "),')
        else:
            parts += [f"    {name}: (", *(f'        "{line} "' for line in lines), "    ),"]
    parts += [
        "}",
        "",
        "",
        "def ranges(character_class: int) -> Iterator[range]:",
        '    """The code points of a class, as ranges in ascending order."""',
        "    for part in RANGES[character_class].split():",
        '        span, _, step = part.partition("/")',
        '        first, _, last = span.partition("-")',
        "        yield range(int(first, 16), int(last or first, 16) + 1, int(step or 1))",
        "",
        "",
        "def class_table() -> bytearray:",
        '    """The class of every code point, one byte each: `class_table()[ord("é")] == LOWER`."""',
        "    table = bytearray(0x110000)",
        "    for character_class in RANGES:",
        "        for points in ranges(character_class):",
        "            table[points.start : points.stop : points.step] = bytes([character_class]) * len(points)",
        "    return table",
        "",
    ]
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write or check the module."""
    text = module()
    if "--check" in arguments:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
