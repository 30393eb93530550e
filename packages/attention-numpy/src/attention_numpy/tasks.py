"""Data with nothing given: sequence tasks whose every pair can be generated, with inputs that training never sees."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attention_numpy.layer import Array
from attention_numpy.layers import Rng

PAD, BOS, EOS = 0, 1, 2
SPECIAL = ["<pad>", "<s>", "</s>"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
DIGITS = list("0123456789")
TaskName = Literal["number-words", "number-digits", "copy", "reverse", "sort", "addition"]
Split = Literal["train", "held-out"]

# fmt: off
ENGLISH = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
ENGLISH_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
GERMAN = [
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
    "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
]
GERMAN_TENS = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
# fmt: on


def english(n: int) -> list[str]:
    """The words of a number below a million: 342 -> three hundred forty two."""
    words = [*english(n // 1000), "thousand"] if n >= 1000 else []
    rest = n % 1000
    if rest >= 100:
        words += [ENGLISH[rest // 100], "hundred"]
        rest %= 100
    if rest >= 20:
        words += [ENGLISH_TENS[rest // 10 - 2]]
        rest %= 10
    return words + ([ENGLISH[rest]] if rest or not words else [])


def german(n: int, final: bool = True) -> list[str]:
    """The same in German, where units come before tens: 342 -> drei hundert zwei und vierzig. Only a last 1 is eins."""
    words = [*german(n // 1000, final=False), "tausend"] if n >= 1000 else []
    rest = n % 1000
    if rest >= 100:
        words += [one_as_ein(rest // 100), "hundert"]
        rest %= 100
    if rest >= 20:
        units = [one_as_ein(rest % 10), "und"] if rest % 10 else []
        return [*words, *units, GERMAN_TENS[rest // 10 - 2]]
    if rest or not words:
        words.append(GERMAN[rest] if final else one_as_ein(rest))
    return words


def one_as_ein(n: int) -> str:
    """A German numeral that another word follows."""
    return "ein" if n == 1 else GERMAN[n]


class Task(ABC):
    """Pairs of symbol sequences. `draw` gives one; a hash of the input decides, for good, on which side it lies."""

    source_symbols: Sequence[str]
    target_symbols: Sequence[str]
    joint = " "  # what stands between two symbols in text

    def __init__(self) -> None:
        self.source = {s: i for i, s in enumerate([*SPECIAL, *self.source_symbols])}
        self.target = {s: i for i, s in enumerate([*SPECIAL, *self.target_symbols])}
        self.target_names = list(self.target)

    @abstractmethod
    def candidate(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """A random pair: a key that names the input, source symbols, target symbols."""

    def lesson(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """A random pair to train on, where a task is learned faster from other pairs than those it is measured on."""
        return self.candidate(rng)

    def is_held_out(self, key: str) -> bool:
        """One input in twenty is never trained on."""
        return zlib.crc32(key.encode()) % 20 == 0

    def draw(self, rng: Rng, split: Split) -> tuple[list[str], list[str]]:
        """One pair of a side."""
        random_pair = self.lesson if split == "train" else self.candidate
        while True:
            key, source, target = random_pair(rng)
            if self.is_held_out(key) == (split == "held-out"):
                return source, target

    def pairs(self, rng: Rng, count: int, split: Split) -> list[tuple[list[str], list[str]]]:
        """`count` pairs; those held out are all different."""
        if split == "train":
            return [self.draw(rng, split) for _ in range(count)]
        found: dict[str, tuple[list[str], list[str]]] = {}
        while len(found) < count:
            source, target = self.draw(rng, split)
            found[self.joint.join(source)] = (source, target)
        return list(found.values())

    def arrays(self, pairs: list[tuple[list[str], list[str]]]) -> tuple[Array, Array]:
        """Padded ids: source (batch, m), ending in EOS; target (batch, n + 1), from BOS to EOS."""
        source = padded([[*(self.source[s] for s in pair[0]), EOS] for pair in pairs])
        target = padded([[BOS, *(self.target[s] for s in pair[1]), EOS] for pair in pairs])
        return source, target

    def encode(self, text: str) -> Array:
        """The source ids of a text, (1, m). ValueError for a symbol that the task does not have."""
        symbols = text.split() if self.joint else [c for c in text if not c.isspace()]
        if not symbols:
            raise ValueError("text: nothing to translate in an empty line")
        for symbol in symbols:
            if symbol not in self.source or symbol in SPECIAL:
                raise ValueError(f"text: {symbol!r} met, this task knows {', '.join(self.source_symbols)}")
        return np.array([[*(self.source[s] for s in symbols), EOS]])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of target ids."""
        return self.joint.join(self.target_names[i] for i in ids)


def padded(rows: list[list[int]]) -> Array:
    """Rows of different lengths as one array, filled up with PAD."""
    array = np.full((len(rows), max(map(len, rows))), PAD)
    for line, row in zip(array, rows, strict=True):
        line[: len(row)] = row
    return array


class NumberWords(Task):
    """English number words to German ones, below a million: tens and units cross."""

    source_symbols: Sequence[str] = (*ENGLISH, *ENGLISH_TENS, "hundred", "thousand")
    target_symbols: Sequence[str] = (*GERMAN, *GERMAN_TENS, "ein", "und", "hundert", "tausend")

    def number(self, rng: Rng) -> int:
        """Every length from two to six digits is as likely."""
        return int(rng.integers(10 ** int(rng.integers(2, 7))))

    def candidate(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """A number, in both languages."""
        n = self.number(rng)
        return str(n), english(n), german(n)

    def is_held_out(self, key: str) -> bool:
        """The single words below twenty are always trained on: a word never seen cannot be known."""
        return int(key) >= 20 and super().is_held_out(key)


class NumberDigits(NumberWords):
    """English number words to digits: forty two -> 42."""

    target_symbols = DIGITS

    def candidate(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """A number, in words and in digits."""
        n = self.number(rng)
        return str(n), english(n), list(str(n))

    def decode(self, ids: Sequence[int]) -> str:
        """Digits are written without spaces."""
        return super().decode(ids).replace(" ", "")


class LetterTask(Task):
    """4 to 16 random letters, and what becomes of them."""

    source_symbols = target_symbols = LETTERS
    joint = ""

    def candidate(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Random letters and their image."""
        letters = [LETTERS[i] for i in rng.integers(0, 26, rng.integers(4, 17)).tolist()]
        return "".join(letters), letters, self.image(letters)

    @abstractmethod
    def image(self, letters: list[str]) -> list[str]:
        """The target of these letters."""


class Copy(LetterTask):
    """The same letters."""

    def image(self, letters: list[str]) -> list[str]:
        """As they are."""
        return letters


class Reverse(LetterTask):
    """The letters from last to first."""

    def image(self, letters: list[str]) -> list[str]:
        """From last to first."""
        return letters[::-1]


class Sort(LetterTask):
    """The letters in the order of the alphabet."""

    def image(self, letters: list[str]) -> list[str]:
        """In the order of the alphabet."""
        return sorted(letters)


@dataclass
class Addition(Task):
    """a+b -> the sum, of numbers of up to `digits` digits. Reversed, each digit needs only the carry of the last.

    Of the pairs to train on, the share `sparse` has each digit replaced by 0 with probability 1/2. Among random digits
    either one alone says nothing about their sum modulo 10, so attending to one of them does not help until the other
    is attended to as well, and the loss stays on a plateau for each digit of the sum. Beside a zero, one is enough.
    """

    digits: int = 3
    reversed: bool = True
    sparse: float = 0.5
    joint = ""

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= 18:
            raise ValueError(f"digits: {self.digits} met, 1 to 18 is possible")
        if not 0 <= self.sparse <= 1:
            raise ValueError(f"sparse: {self.sparse} met, a share from 0 to 1 is needed")
        self.source_symbols, self.target_symbols = [*DIGITS, "+"], DIGITS
        super().__init__()

    def candidate(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Two numbers and their sum; every pair is as likely."""
        return self.written(*rng.integers(0, 10**self.digits, 2).tolist())

    def lesson(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """The same, or with zeros among the digits."""
        if rng.random() >= self.sparse:
            return self.candidate(rng)
        digits = rng.integers(0, 10, (2, self.digits)) * rng.integers(0, 2, (2, self.digits))
        return self.written(*(digits @ 10 ** np.arange(self.digits)).tolist())

    def written(self, a: int, b: int) -> tuple[str, list[str], list[str]]:
        """a+b and its sum, as symbols."""
        total = str(a + b)
        return f"{a}+{b}", list(f"{a}+{b}"), list(total[::-1] if self.reversed else total)


def make_task(name: TaskName, digits: int = 3, sum_reversed: bool = True, sparse: float = 0.5) -> Task:
    """The task of this name; the options are Addition's."""
    if name == "addition":
        return Addition(digits, sum_reversed, sparse)
    kinds: dict[str, type[Task]] = {
        "number-words": NumberWords,
        "number-digits": NumberDigits,
        "copy": Copy,
        "reverse": Reverse,
        "sort": Sort,
    }
    if name not in kinds:
        raise ValueError(f"task: {name!r} met, known are {', '.join(kinds)}, addition")
    return kinds[name]()
