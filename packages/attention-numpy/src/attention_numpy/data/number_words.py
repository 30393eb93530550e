"""Number words in English and German, below a million, where German writes the units before the tens."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attention_numpy.data.tasks import DIGITS, Split, Task
from attention_numpy.layers import Rng
from attention_numpy.module import Array

LIMIT = 1_000_000

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
    """Return the words of a number below a million.

    >>> " ".join(english(342))
    'three hundred forty two'
    """
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
    """Return the words in German, units before tens. A 1 is `eins` at the end (`final`), else `ein`.

    >>> " ".join(german(342))
    'drei hundert zwei und vierzig'
    """
    words = [*german(n // 1000, final=False), "tausend"] if n >= 1000 else []
    rest = n % 1000
    if rest >= 100:
        words += [_ein(rest // 100), "hundert"]
        rest %= 100
    if rest >= 20:
        units = [_ein(rest % 10), "und"] if rest % 10 else []
        return [*words, *units, GERMAN_TENS[rest // 10 - 2]]
    if rest or not words:
        words.append(GERMAN[rest] if final else _ein(rest))
    return words


def _ein(n: int) -> str:
    """Return a German numeral that another word follows."""
    return "ein" if n == 1 else GERMAN[n]


class NumberWords(Task):
    """Translate English number words to German ones."""

    source_symbols: Sequence[str] = (*ENGLISH, *ENGLISH_TENS, "hundred", "thousand")
    target_symbols: Sequence[str] = (*GERMAN, *GERMAN_TENS, "ein", "und", "hundert", "tausend")

    def number(self, rng: Rng) -> int:
        """Sample a number below 10^k, k uniform from 2 to 6, so that short numbers are as frequent as long ones."""
        return int(rng.integers(10 ** int(rng.integers(2, 7))))

    def sample_input(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Sample a number, in both languages."""
        n = self.number(rng)
        return str(n), english(n), german(n)

    def split_of(self, key: str) -> Split:
        """Assign numbers below twenty to training, because a word that never occurs cannot be learned."""
        return "train" if int(key) < 20 else super().split_of(key)

    def encode(self, text: str) -> Array:
        """Return the source ids. Accepts capitals, hyphens, "and", and a number in digits, with or without commas."""
        words = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text.lower()).split()
        if len(words) == 1 and re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+|[0-9]+", words[0]):
            digits = words[0].replace(",", "")
            if len(digits.lstrip("0")) > len(str(LIMIT - 1)):
                raise ValueError(f"`text` must be a number below {LIMIT:,}, got {text.strip()!r}")
            words = english(int(digits))
        return super().encode(" ".join(word for word in words if word != "and"))


class NumberDigits(NumberWords):
    """Translate English number words to digits: forty two -> 42."""

    target_symbols = DIGITS

    def sample_input(self, rng: Rng) -> tuple[str, list[str], list[str]]:
        """Sample a number, in words and in digits."""
        n = self.number(rng)
        return str(n), english(n), list(str(n))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the digits without spaces."""
        return super().decode(ids).replace(" ", "")
