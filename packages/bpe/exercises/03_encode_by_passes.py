"""Exercise 3: encode as the papers state it.

The papers apply every merge in the order of training to the whole word. `bpe.merge.byte_pair_merge` instead merges the
pair of lowest rank until none is left. Write the first, and see that both give the same ids: a merge creates only pairs
whose merges come later.

Fill in `encode_by_passes`, then run this file.
"""

from __future__ import annotations

from pydoc_data.topics import topics

import bpe


def encode_by_passes(word: bytes, merges: list[tuple[int, int]]) -> list[int]:
    """Return the ids of a word: bytes are 0 to 255, and merge k creates id 256 + k. Each merge is one pass."""
    raise NotImplementedError("exercise 3: encode_by_passes")


def check() -> None:
    """Raise AssertionError unless the ids equal those of the tokenizer for every word of a text."""
    tok = bpe.train_from_iterator([topics["assignment"]], vocab_size=500, pattern=None)
    for word in [*topics["assignment"].split(), "aaaa", "ababab", "naïve 日本語", ""]:
        right, found = tok.encode(word), encode_by_passes(word.encode(), list(tok.merges))
        assert list(found) == right, f"{word!r}: {list(found)} instead of {right}"


if __name__ == "__main__":
    check()
    print("exercise 3: correct")
