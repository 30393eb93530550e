"""Byte-level BPE tokenization (1508.07909; GPT-2, section 2.2): train, encode, decode, and all common file formats.

>>> import bpe
>>> tok = bpe.train_from_iterator(["hello world, hello there"], vocab_size=260, engine="python")
>>> tok.decode(tok.encode("hello")), tok.pieces(tok.encode("hello there"))
('hello', ['hello', 'Ġ', 't', 'he', 'r', 'e'])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpe.byte_unicode import bytes_to_unicode
    from bpe.decoding import StreamDecoder
    from bpe.errors import FormatError, UnknownTokenError
    from bpe.hub import get_encoding
    from bpe.offsets import Encoded
    from bpe.pretokenize import PATTERNS
    from bpe.special import Trusted, Untrusted
    from bpe.token_file import encode_file
    from bpe.tokenizer import Tokenizer
    from bpe.training.api import train, train_from_counts, train_from_iterator
    from bpe.training.count import PretokenCounts, count_files, count_texts

    __version__: str

__all__ = [
    "train", "train_from_iterator", "train_from_counts", "count_files", "count_texts", "PretokenCounts",
    "get_encoding", "Tokenizer", "Encoded", "Trusted", "Untrusted", "StreamDecoder", "encode_file",
    "PATTERNS", "bytes_to_unicode", "FormatError", "UnknownTokenError", "__version__",
]  # fmt: skip

_EXPORTS = {
    **dict.fromkeys(("train", "train_from_iterator", "train_from_counts"), "bpe.training.api"),
    **dict.fromkeys(("PretokenCounts", "count_files", "count_texts"), "bpe.training.count"),
    **dict.fromkeys(("Trusted", "Untrusted"), "bpe.special"),
    **dict.fromkeys(("FormatError", "UnknownTokenError"), "bpe.errors"),
    "Tokenizer": "bpe.tokenizer",
    "Encoded": "bpe.offsets",
    "get_encoding": "bpe.hub",
    "StreamDecoder": "bpe.decoding",
    "encode_file": "bpe.token_file",
    "PATTERNS": "bpe.pretokenize",
    "bytes_to_unicode": "bpe.byte_unicode",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `bpe --help` need not import NumPy."""
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("dlpapers-bpe")
    elif name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
    else:
        raise AttributeError(f"module 'bpe' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
