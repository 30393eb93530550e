"""Byte-level BPE (1508.07909; GPT-2, section 2.2): training, encoding, decoding, and every common file format.

>>> import bpe
>>> tok = bpe.train_from_iterator(["hello world, hello there"], vocab_size=260, engine="python")
>>> tok.decode(tok.encode("hello")), tok.pieces(tok.encode("hello there"))
('hello', ['hello', 'Ġ', 't', 'he', 'r', 'e'])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpe.byte_letters import bytes_to_unicode
    from bpe.counts import PretokenCounts, count_files, count_texts
    from bpe.decoding import StreamDecoder
    from bpe.errors import FormatError, UnknownTokenError
    from bpe.patterns import PATTERNS
    from bpe.published import get_encoding
    from bpe.special import Trusted, Untrusted
    from bpe.stream import encode_file
    from bpe.tokenizer import Encoded, Tokenizer
    from bpe.training import train, train_from_counts, train_from_iterator

__all__ = [
    "train", "train_from_iterator", "train_from_counts", "count_files", "count_texts", "PretokenCounts",
    "get_encoding", "Tokenizer", "Encoded", "Trusted", "Untrusted", "StreamDecoder", "encode_file",
    "PATTERNS", "bytes_to_unicode", "FormatError", "UnknownTokenError",
]  # fmt: skip

_MODULE_OF = {
    **dict.fromkeys(("train", "train_from_iterator", "train_from_counts"), "bpe.training"),
    **dict.fromkeys(("PretokenCounts", "count_files", "count_texts"), "bpe.counts"),
    **dict.fromkeys(("Tokenizer", "Encoded"), "bpe.tokenizer"),
    **dict.fromkeys(("Trusted", "Untrusted"), "bpe.special"),
    **dict.fromkeys(("FormatError", "UnknownTokenError"), "bpe.errors"),
    "get_encoding": "bpe.published",
    "StreamDecoder": "bpe.decoding",
    "encode_file": "bpe.stream",
    "PATTERNS": "bpe.patterns",
    "bytes_to_unicode": "bpe.byte_letters",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `bpe --help` has no use for NumPy."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'bpe' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value
