"""Tokenizers: bytes and characters are built in; byte-level BPE comes from the package `bpe` of this collection.

What the rest of the package asks of a tokenizer is the protocol below.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gpt2.siblings import sibling

FILE = "gpt2_tokenizer.json"  # beside a model: which tokenizer it was trained with


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back."""

    n_vocab: int
    eos_id: int | None  # the token that ends a document, where there is one

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD, the end-of-text token nothing."""

    def description(self) -> dict[str, Any]:
        """What `from_description` makes the same tokenizer from."""


class ByteTokenizer:
    """The 256 bytes of UTF-8 and an end-of-text token: no file, no training, every text.

    >>> ByteTokenizer().encode("né")
    [110, 195, 169]
    """

    n_vocab = 257
    eos_id: int | None = 256

    def encode(self, text: str) -> list[int]:
        """The UTF-8 bytes; a lone surrogate becomes a question mark."""
        return list(text.encode("utf-8", errors="replace"))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the bytes."""
        return bytes(i for i in ids if i < 256).decode("utf-8", errors="replace")

    def description(self) -> dict[str, Any]:
        """There is only one."""
        return {"kind": "bytes"}


class CharTokenizer:
    """One token for each of some given characters, as nanoGPT's character models have it."""

    eos_id: int | None = None

    def __init__(self, chars: str) -> None:
        if len(set(chars)) != len(chars) or not chars:
            raise ValueError("chars: not one or more different characters")
        self.chars, self.n_vocab = chars, len(chars)
        self._ids = {c: i for i, c in enumerate(chars)}

    def encode(self, text: str) -> list[int]:
        """Ids; ValueError for a character that has none."""
        if unknown := set(text) - set(self._ids):
            raise ValueError(f"text: {min(unknown)!r} is not one of this model's {self.n_vocab} characters")
        return [self._ids[c] for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        """The characters."""
        return "".join(self.chars[i] for i in ids)

    def description(self) -> dict[str, Any]:
        """All characters in order."""
        return {"kind": "chars", "chars": self.chars}


class BPETokenizer:
    """A tokenizer of the package `bpe`: the name of a published one ("gpt2"), or a file that it trained."""

    def __init__(self, source: str) -> None:
        otherwise = "tokenizer: 'bytes' needs nothing, byte-level BPE the package bpe"
        bpe = sibling("bpe", "dlpapers-bpe", "./packages/bpe", otherwise)
        self.source = source
        self.file = Path(source) if Path(source).exists() else None
        self.inner = bpe.get_encoding(source) if self.file is None else bpe.Tokenizer.load(source)
        self.n_vocab = int(self.inner.n_vocab)
        self.eos_id: int | None = getattr(self.inner, "eot_token", None)

    def encode(self, text: str) -> list[int]:
        """Ids; the text of special tokens is ordinary text."""
        return list(self.inner.encode_ordinary(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text, without the end-of-text token."""
        return str(self.inner.decode([int(i) for i in ids if i != self.eos_id]))

    def description(self) -> dict[str, Any]:
        """The name, or the file and its hash."""
        if self.file is None:
            return {"kind": "bpe", "name": self.source}
        return {"kind": "bpe", "file": str(self.file), "sha256": hashlib.sha256(self.file.read_bytes()).hexdigest()}


def make(name: str) -> Tokenizer:
    """`bytes`, a published vocabulary such as `gpt2`, or the path of a trained tokenizer or characters file."""
    if name == "bytes":
        return ByteTokenizer()
    path = Path(name)
    if path.suffix == ".json" and path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.get("kind") in ("bytes", "chars"):
            return from_description(found, path.parent)
    return BPETokenizer(name)


def check(tokenizer: Tokenizer, vocab_size: int) -> None:
    """ValueError for a tokenizer whose tokens a model does not know. (A model may be padded to more.)"""
    if tokenizer.n_vocab > vocab_size:
        raise ValueError(f"tokenizer: {tokenizer.n_vocab} tokens, but the model has {vocab_size}")


def from_description(found: dict[str, Any], folder: Path) -> Tokenizer:
    """The tokenizer of a description; files are looked for in `folder`."""
    match found:
        case {"kind": "bytes"}:
            return ByteTokenizer()
        case {"kind": "chars", "chars": str(chars)}:
            return CharTokenizer(chars)
        case {"kind": "bpe", "name": str(name)}:
            return BPETokenizer(name)
        case {"kind": "bpe", "file": str(file), "sha256": str(sha256)}:
            tokenizer = BPETokenizer(str(folder / file))
            if tokenizer.description()["sha256"] != sha256:
                raise ValueError(f"{folder / file}: not the tokenizer that the model was trained with")
            return tokenizer
    raise ValueError(f"{folder / FILE}: no description of a tokenizer: {found}")


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Note in a model's folder which tokenizer it has; a trained one is copied there."""
    found = tokenizer.description()
    if "file" in found:
        source = Path(found["file"])
        found["file"] = f"bpe{source.suffix}"
        if (folder / found["file"]).resolve() != source.resolve():
            shutil.copyfile(source, folder / found["file"])
    temporary = folder / (FILE + ".part")
    temporary.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    temporary.replace(folder / FILE)


def load(folder: Path, named: str | None = None) -> Tokenizer:
    """The tokenizer of a model's folder; where the folder does not say, the one named, or else GPT-2's own.

    ValueError for a named one that differs from the folder's.
    """
    path = folder / FILE
    if not path.exists():
        return make(named or "gpt2")
    found = from_description(json.loads(path.read_text(encoding="utf-8")), folder)
    if named is not None:
        check_same(make(named), found, path)
    return found


def check_same(tokenizer: Tokenizer, of_model: Tokenizer, where: Path) -> None:
    """ValueError unless two tokenizers are the same one, wherever their files lie."""
    ours, theirs = ({k: v for k, v in t.description().items() if k != "file"} for t in (tokenizer, of_model))
    if ours != theirs:
        raise ValueError(f"tokenizer: not the one that the model was trained with, which {where} names")
