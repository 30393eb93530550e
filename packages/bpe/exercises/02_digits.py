"""Exercise 2: how are numbers split?

GPT-2's pattern makes any run of digits one pre-token; cl100k stops at three digits. Write both rules for a run of
digits. Then think of a reason for the second one: how many different pre-tokens of digits are there?

Fill in `split_number`, then run this file.
"""

from __future__ import annotations

import random

from bpe.pretokenize import Splitter


def split_number(digits: str, pattern: str) -> list[str]:
    """Return the pre-tokens of a run of digits. pattern: "gpt2" or "cl100k"."""
    raise NotImplementedError("exercise 2: split_number")


def check() -> None:
    """Raise AssertionError unless the splits are those of the patterns, for runs of 1 to 12 digits."""
    rng = random.Random(0)
    for length in range(1, 13):
        digits = "".join(rng.choices("0123456789", k=length))
        for pattern in ("gpt2", "cl100k"):
            right, found = Splitter(pattern)(digits), split_number(digits, pattern)
            assert found == right, f"{pattern} splits {digits!r} into {right}, got {found}"


if __name__ == "__main__":
    check()
    print("exercise 2: correct")
