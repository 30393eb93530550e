"""Tokenizers: bytes and characters are built in; byte-level BPE comes from the optional package dlpapers-bpe.

Every model folder and data folder holds its tokenizer as `tokenizer.json`, in the format of Hugging Face.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gpt2._common.atomic import read_json_object, write_json
from gpt2._common.errors import invalid, is_integer
from gpt2._common.optional import require
from gpt2._common.run_folder import CONFIG, TOKENIZER

TOKENIZER_CONFIG = "tokenizer_config.json"
OTHER_FORMATS = ("vocab.json",)  # with merges.txt: what older Hugging Face folders have instead of tokenizer.json
END_OF_TEXT = "<|endoftext|>"
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back."""

    vocab_size: int
    eos_id: int | None  # the token that ends a document, if there is one

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids. Bytes that are not UTF-8 become U+FFFD; end-of-text has no text."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of Hugging Face's tokenizer.json."""


def byte_letters() -> list[str]:
    """Return GPT-2's printable character for each byte (section 2.2 and OpenAI's encoder.py).

    >>> byte_letters()[65], byte_letters()[32], byte_letters()[10]
    ('A', 'Ġ', 'Ċ')
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def _huggingface(vocab: dict[str, int], level: dict[str, Any] | None, decoder: dict[str, Any]) -> dict[str, Any]:
    """Return a tokenizer.json without merges: each letter of `vocab` is a token."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": level,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [],
        },
    }


class ByteTokenizer:
    """The 256 bytes of UTF-8 and an end-of-text token: no file, no training, any text.

    >>> ByteTokenizer().encode("né")
    [110, 195, 169]
    """

    vocab_size = 257
    eos_id: int | None = 256

    def encode(self, text: str) -> list[int]:
        """Return the UTF-8 bytes. Raises: ValueError for a lone surrogate."""
        try:
            return list(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise ValueError(f"`text` must be valid Unicode, got a lone surrogate at {error.start}") from None

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of the bytes."""
        return bytes(i for i in ids if i < 256).decode("utf-8", errors="replace")

    def to_json(self) -> dict[str, Any]:
        """Return Hugging Face's tokenizer.json: byte-level BPE without merges."""
        vocab = {letter: byte for byte, letter in enumerate(byte_letters())}
        content = _huggingface(vocab, _BYTE_LEVEL, _BYTE_LEVEL)
        content["added_tokens"] = [{"id": self.eos_id, "content": END_OF_TEXT, **_ADDED}]
        return content


class CharTokenizer:
    """One token for each of the given characters, as in nanoGPT's character models."""

    eos_id: int | None = None

    def __init__(self, chars: str) -> None:
        if len(set(chars)) != len(chars) or not chars:
            raise invalid("chars", "be one or more different characters", chars)
        self.chars, self.vocab_size = chars, len(chars)
        self._ids = {c: i for i, c in enumerate(chars)}

    def encode(self, text: str) -> list[int]:
        """Return the ids. Raises: ValueError for a character that has none."""
        if unknown := set(text) - set(self._ids):
            raise invalid("text", f"have only this model's {self.vocab_size} characters", min(unknown))
        return [self._ids[c] for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters."""
        return "".join(self.chars[i] for i in ids)

    def to_json(self) -> dict[str, Any]:
        """Return Hugging Face's tokenizer.json: BPE without merges."""
        return _huggingface(self._ids, None, {"type": "Fuse"})


class BPETokenizer:
    """A byte-level BPE tokenizer of dlpapers-bpe: a published one by name ("gpt2"), or a file or folder it can read."""

    def __init__(self, source: str | Path) -> None:
        bpe = require("bpe", "byte-level BPE", distribution="dlpapers-bpe")
        self.source = str(source)
        path = Path(source)
        if path.name in OTHER_FORMATS:  # which does not state its pattern and its special token
            known = read_json_object(path)
            special = {END_OF_TEXT: known[END_OF_TEXT]} if END_OF_TEXT in known else None
            self.inner = bpe.Tokenizer.load(path, pattern="gpt2", special_tokens=special)
        else:
            self.inner = bpe.Tokenizer.load(path) if path.exists() else bpe.get_encoding(self.source)
        self.vocab_size = int(self.inner.n_vocab)
        try:
            self.eos_id: int | None = int(self.inner.eot_token)
        except (AttributeError, KeyError, ValueError):
            self.eos_id = None

    def encode(self, text: str) -> list[int]:
        """Return the ids; the text of special tokens is ordinary text."""
        return list(self.inner.encode_ordinary(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text, without the end-of-text token."""
        return str(self.inner.decode([int(i) for i in ids if i != self.eos_id]))

    def to_json(self) -> dict[str, Any]:
        """Return Hugging Face's tokenizer.json."""
        with tempfile.TemporaryDirectory() as folder:
            self.inner.export(folder, "huggingface")
            return read_json_object(Path(folder) / TOKENIZER)


def make(name: str | Path) -> Tokenizer:
    """Return a tokenizer: `bytes`, a published vocabulary such as `gpt2`, or the file of a trained one.

    Raises: ValueError for a file that is not a tokenizer; MissingDependencyError where dlpapers-bpe is needed.
    """
    if name == "bytes":
        return ByteTokenizer()
    path = Path(name)
    if path.is_dir():
        return _in_folder(path) or BPETokenizer(path)
    if path.suffix == ".json" and path.exists():
        return _read(path)
    if (path.suffix or len(path.parts) > 1) and not path.exists():
        raise ValueError(f"{path}: not found")
    return BPETokenizer(name)


def _in_folder(folder: Path) -> Tokenizer | None:
    """Return the tokenizer of a folder, or None if it has no file of a tokenizer."""
    if (folder / TOKENIZER).exists():
        return _read(folder / TOKENIZER)
    for name in OTHER_FORMATS:
        if (folder / name).exists():
            return BPETokenizer(folder / name)
    return None


def _read(path: Path) -> Tokenizer:
    """Return the tokenizer of a JSON file. What is not built in, dlpapers-bpe reads or refuses."""
    content = read_json_object(path)
    model = content.get("model")
    built_in = isinstance(model, dict) and model.get("type") == "BPE" and model.get("merges") == []
    if built_in and isinstance(model, dict) and isinstance(vocab := model.get("vocab"), dict):
        for tokenizer in (ByteTokenizer(), _characters(vocab)):
            if tokenizer is not None and content == tokenizer.to_json():
                return tokenizer
    return BPETokenizer(path)


def _characters(vocab: dict[str, int]) -> CharTokenizer | None:
    chars = list(vocab)
    if not chars or any(len(c) != 1 for c in chars) or list(vocab.values()) != list(range(len(chars))):
        return None
    return CharTokenizer("".join(chars))


def load(folder: str | Path, named: str | None = None) -> Tokenizer:
    """Return the tokenizer of a model's folder; if it has none, the one named, or else GPT-2's.

    Raises: ValueError if the folder has a tokenizer and the named one differs from it.
    """
    folder = Path(folder)
    own = _in_folder(folder) if folder.is_dir() else None
    if own is None:
        return make(named or "gpt2")
    if named is not None:
        check_same(make(named), own, folder)
    if isinstance(own, BPETokenizer) and own.eos_id is None:
        own.eos_id = _stated_eos_id(folder, own.vocab_size)
    return own


def _stated_eos_id(folder: Path, vocab_size: int) -> int | None:
    """Return the end-of-text id of config.json, for a tokenizer whose end-of-text token has a name of its own."""
    path = folder / CONFIG
    eos_id: Any = read_json_object(path).get("eos_token_id") if path.exists() else None
    return int(eos_id) if is_integer(eos_id) and 0 <= eos_id < vocab_size else None


def has_tokenizer(folder: str | Path) -> bool:
    """Return whether a folder has the file of a tokenizer."""
    return any((Path(folder) / name).is_file() for name in (TOKENIZER, *OTHER_FORMATS))


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, as `transformers.AutoTokenizer` reads them."""
    content = tokenizer.to_json()
    write_json(folder / TOKENIZER, content)
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if tokenizer.eos_id is not None:
        end = next((t["content"] for t in content["added_tokens"] if t["id"] == tokenizer.eos_id), END_OF_TEXT)
        config |= {"bos_token": end, "eos_token": end}
    write_json(folder / TOKENIZER_CONFIG, config)


def fingerprint(tokenizer: Tokenizer) -> str:
    """Return the first 16 hex digits of a hash of the tokenizer's vocabulary, merges, and pattern."""
    text = json.dumps(tokenizer.to_json(), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def check_fits(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Raise ValueError if the tokenizer has tokens that the model does not. (The model's vocabulary may be padded.)"""
    if tokenizer.vocab_size > vocab_size:
        condition = f"have at most the model's {vocab_size} tokens"
        raise invalid("tokenizer", condition, tokenizer.vocab_size, "Name the model's own one with --tokenizer")


def check_same(tokenizer: Tokenizer, expected: Tokenizer, where: Path) -> None:
    """Raise ValueError unless two tokenizers give the same ids."""
    if fingerprint(tokenizer) != fingerprint(expected):
        raise ValueError(f"`tokenizer` must be the one in {where}, which the model was trained with, got another one")
