"""Exercise 1: which tokens appear that no pattern would allow?

Train on a text with `pattern=None`: merges may then span words. Write a function that tells whether a token could come
from training with GPT-2's pattern, where a pre-token has at most one space, in front of its word.

Fill in `spans_words`, then run this file.
"""

from __future__ import annotations

from pydoc_data.topics import topics

import bpe


def spans_words(token: bytes) -> bool:
    """Return whether a token holds characters of more than one word, such as b"of the" or b"e t"."""
    raise NotImplementedError("exercise 1: spans_words")


def check() -> None:
    """Raise AssertionError unless `spans_words` tells the two trainings apart."""
    free = bpe.train_from_iterator([topics["assignment"]], vocab_size=500, pattern=None)
    split = bpe.train_from_iterator([topics["assignment"]], vocab_size=500, pattern="gpt2")
    for token in split.ranks:
        assert not spans_words(token), (
            f"{token!r} is a token of a training with GPT-2's pattern, but spans_words is True"
        )
    for token in (b"of the", b"e t", b"a b c", b" is a "):
        assert spans_words(token), f"{token!r} holds parts of two words, but spans_words is False"
    found = [token for token in free.ranks if spans_words(token)]
    assert found, "spans_words finds no token in a training without a pattern"


if __name__ == "__main__":
    check()
    print("exercise 1: correct")
