"""Unicode normalization as the library `tokenizers` does it, whatever version of Unicode this Python knows.

Its normalizers know Unicode 9. A character of a later version is to them one that neither decomposes, nor composes, nor
moves. Such a character separates: both sides of it are normalized on their own.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from bpe.unicode_classes import code_points

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS = ("NFC", "NFD", "NFKC", "NFKD")

_LATER = (
    "558 58b-58c 5c8-5c9 7fd 897-89f 8ca-8d3 9fe c3c d3b-d3c eba 1715 1abf-1af0 1df6-1dfa 209d-209f 32ff a7f1-a7f4 "
    "a82c ab69 105c0-105ff 10781-10785 10787-107b0 107b2-107bf 10d24-10d27 10d69-10d6d 10eab-10eac 10ecb-10ecf "
    "10ef0-10efb 10efd-10eff 10f46-10f50 10f82-10f85 11070 1133b 11380-113ff 1145e 11839-1183a 11900-1195f 119e0 "
    "11a34 11a47 11a99 11d42 11d44-11d45 11d97 11f41-11f42 16100-1613f 16d40-16d7f 16ff0-16ff1 1b123-1b126 "
    "1ccd6-1ccf9 1d127-1d128 1d250-1d252 1d25b-1d25c 1d25f 1d280-1d281 1d6a6 1df95 1dfcd-1dfff 1e030-1e06d 1e08f "
    "1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1e5ee-1e5ef 1e6e3 1e6e6 1e6ee-1e6ef 1e6f5 1f16c 1fbf0-1fbf9 "
)
"""Characters after Unicode 9 that decompose, compose or have a combining class in a later version."""

_SEPARATORS = re.compile("([" + "".join(f"\\U{p:08x}" for span in code_points(_LATER) for p in span) + "])")


def normalize(form: Form, text: str) -> str:
    """Return a text in a normalization form, as `tokenizers` computes it.

    >>> normalize("NFKC", "ﬁ e\u0301")
    'fi é'
    """
    if text.isascii():
        return text
    return "".join(
        part if i % 2 else unicodedata.normalize(form, part) for i, part in enumerate(_SEPARATORS.split(text))
    )


@dataclass(frozen=True)
class UnicodeForm:
    """Normalize to a Unicode form."""

    form: Form

    def __call__(self, text: str) -> str:
        """Return the text in this form."""
        return normalize(self.form, text)


@dataclass(frozen=True)
class Prepend:
    """Put a prefix before each text that is not empty."""

    prefix: str

    def __call__(self, text: str) -> str:
        """Return the text with its prefix."""
        return self.prefix + text if text else text
