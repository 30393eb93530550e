"""Synthetic sequence tasks: every pair is generated on the fly, with a held-out set of inputs."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np

from attention_numpy._common.errors import check_bool, check_fraction, check_integer
from attention_numpy.config import MAX_DIGITS
from attention_numpy.layers import Rng
from attention_numpy.module import Array

PAD_ID, BOS_ID, EOS_ID = 0, 1, 2
SPECIAL = ["<pad>", "<s>", "</s>"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
DIGITS = list("0123456789")
Split = Literal["train", "held-out"]
Pair = tuple[list[str], list[str]]  # source and target symbols


class Task(ABC):
    """Pairs of symbol sequences, and the ids of their symbols.

    A hash of the input decides whether a pair belongs to training or to the held-out set, so the two cannot overlap.
    """

    source_symbols: Sequence[str]
    target_symbols: Sequence[str]
    separator = " "  # between two symbols in text

    def __init__(self) -> None:
        self.source = {s: i for i, s in enumerate([*SPECIAL, *self.source_symbols])}
        self.target = {s: i for i, s in enumerate([*SPECIAL, *self.target_symbols])}
        self.source_names, self.target_names = list(self.source), list(self.target)

    @abstractmethod
    def sample_input(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Sample a pair: a key that identifies the input, source symbols, target symbols."""

    def training_pair(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Sample a pair to train on, where another distribution than that of the evaluation is learned faster."""
        return self.sample_input(rng)

    def split_of(self, key: str) -> Split:
        """Return the split of an input: one in twenty is held out."""
        return "held-out" if zlib.crc32(key.encode()) % 20 == 0 else "train"

    def sample_pair(self, rng: Rng, split: Split) -> Pair:
        """Sample one pair of a split."""
        sample = self.training_pair if split == "train" else self.sample_input
        while True:
            key, source, target = sample(rng)
            if self.split_of(key) == split:
                return source, target

    def training_pairs(self, rng: Rng, count: int) -> list[Pair]:
        """Sample `count` pairs to train on."""
        return [self.sample_pair(rng, "train") for _ in range(count)]

    def held_out_pairs(self, rng: Rng, count: int) -> list[Pair]:
        """Sample `count` different held-out pairs.

        Raises: ValueError if the task has fewer: if many samples in a row bring none that is new.
        """
        found: dict[str, Pair] = {}
        patience = 0
        while len(found) < count:
            key, source, target = self.sample_input(rng)
            if self.split_of(key) == "held-out" and key not in found:
                found[key], patience = (source, target), 0
            patience += 1
            if patience > 2000 + 400 * len(found):
                raise ValueError(
                    f"`eval_count` must be at most {len(found)}, all held-out inputs of this task, got {count}"
                )
        return list(found.values())

    def arrays(self, pairs: Sequence[Pair]) -> tuple[Array, Array]:
        """Return padded ids: source (batch, source), ending in EOS; target (batch, target + 1), from BOS to EOS."""
        source = padded([[*(self.source[s] for s in pair[0]), EOS_ID] for pair in pairs])
        target = padded([[BOS_ID, *(self.target[s] for s in pair[1]), EOS_ID] for pair in pairs])
        return source, target

    def encode(self, text: str) -> Array:
        """Return the source ids of a text, (1, source). Raises: ValueError for a symbol that the task does not have."""
        symbols = text.split() if self.separator else [c for c in text if not c.isspace()]
        if not symbols:
            raise ValueError("`text` must not be empty")
        for symbol in symbols:
            if symbol not in self.source or symbol in SPECIAL:
                raise ValueError(f"`text` must consist of {', '.join(self.source_symbols)}; got {symbol!r}")
        return np.array([[*(self.source[s] for s in symbols), EOS_ID]])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of target ids."""
        return self.separator.join(self.target_names[i] for i in ids)

    def to_json(self) -> dict[str, object]:
        """Return what tokenizer.json holds: the symbols in the order of their ids."""
        return {"kind": "symbols", "source": self.source_names, "target": self.target_names}


def padded(rows: list[list[int]]) -> Array:
    """Return rows of different lengths as one array, padded with PAD_ID."""
    array = np.full((len(rows), max(map(len, rows))), PAD_ID)
    for line, row in zip(array, rows, strict=True):
        line[: len(row)] = row
    return array


class LetterTask(Task):
    """Transform a sequence of 4 to 16 random letters."""

    source_symbols = target_symbols = LETTERS
    separator = ""

    def sample_input(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Sample letters, and transform them."""
        letters = [LETTERS[i] for i in rng.integers(0, 26, rng.integers(4, 17)).tolist()]
        return "".join(letters), letters, self.transform(letters)

    @abstractmethod
    def transform(self, letters: list[str]) -> list[str]:
        """Return the target of these letters."""


class Copy(LetterTask):
    """Copy the letters."""

    def transform(self, letters: list[str]) -> list[str]:
        """Return the letters unchanged."""
        return letters


class Reverse(LetterTask):
    """Reverse the letters."""

    def transform(self, letters: list[str]) -> list[str]:
        """Return the letters from last to first."""
        return letters[::-1]


class Sort(LetterTask):
    """Sort the letters."""

    def transform(self, letters: list[str]) -> list[str]:
        """Return the letters in alphabetical order."""
        return sorted(letters)


class Addition(Task):
    """Add two numbers of up to `digits` digits. With `sum_reversed`, each digit of the sum needs only one carry.

    In the fraction `sparse` of the training pairs, each digit is replaced by 0 with probability 1/2. Among random
    digits either one alone carries no information about their sum modulo 10. So attending to one of them does not help
    until the other is attended to as well, and the loss stays on a plateau for each digit of the sum. Beside a zero,
    one is enough.
    """

    separator = ""

    def __init__(self, digits: int = 3, sum_reversed: bool = True, sparse: float = 0.5) -> None:
        check_integer("digits", digits, 1, MAX_DIGITS)
        check_fraction("sparse", sparse, one=True)
        self.digits, self.sum_reversed, self.sparse = digits, sum_reversed, sparse
        check_bool(self, ["sum_reversed"])
        self.source_symbols, self.target_symbols = [*DIGITS, "+"], DIGITS
        super().__init__()

    def sample_input(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Sample two numbers uniformly, and add them."""
        return self.written(*rng.integers(0, 10**self.digits, 2).tolist())

    def training_pair(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Sample as `sample_input` does, or with zeros among the digits."""
        if rng.random() >= self.sparse:
            return self.sample_input(rng)
        digits = rng.integers(0, 10, (2, self.digits)) * rng.integers(0, 2, (2, self.digits))
        return self.written(*(digits @ 10 ** np.arange(self.digits)).tolist())

    def written(self, a: int, b: int) -> tuple[str, list[str], list[str]]:
        """Return a+b and its sum, as symbols."""
        total = str(a + b)
        return f"{a}+{b}", list(f"{a}+{b}"), list(total[::-1] if self.sum_reversed else total)
