"""Byte-level BPE (1508.07909; GPT-2, section 2.2): training, encoding, decoding, and every common file format."""

from bpe.errors import FormatError, UnknownTokenError
from bpe.special import Trusted, Untrusted
from bpe.tokenizer import Encoded, Tokenizer

__all__ = ["Tokenizer", "Encoded", "Trusted", "Untrusted", "FormatError", "UnknownTokenError"]
