"""Texts to ids and back: characters, words, or subwords learned by the package `bpe`.

Ids 0 to 3 are the same in all of them: padding, begin and end of a sentence, and what is not in the vocabulary.
"""

from __future__ import annotations

import os
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

from transformer_torch.files import read_json, write_json

PAD, BOS, EOS, UNKNOWN = range(4)
FIRST = 4  # the first id of a vocabulary's own
SIGNS = ("<pad>", "<s>", "</s>", "<unk>")
Kind = Literal["characters", "words", "subwords"]


class Vocabulary(ABC):
    """What turns a line into ids and ids into a line."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of a line, without begin and end."""

    def sample(self, text: str, dropout: float, rng: random.Random) -> list[int]:
        """Ids of one of the many ways to split a line: BPE-dropout (1910.13267). Subwords only."""
        raise ValueError("bpe_dropout: only subwords can be split in several ways (--vocab subwords)")

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The line of some ids; padding, begin and end are left out."""

    @abstractmethod
    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for, for pictures."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write `vocab.json` into the folder of a run."""


class SymbolVocabulary(Vocabulary):
    """A list of symbols: characters, or words divided by spaces."""

    def __init__(self, symbols: Sequence[str], separator: str) -> None:
        self.symbols, self.separator = list(symbols), separator
        self.ids = {symbol: i for i, symbol in enumerate(self.symbols, FIRST)}

    @classmethod
    def build(cls, lines: Iterable[str], separator: str, size: int | None = None) -> SymbolVocabulary:
        """The symbols of some lines, the most frequent first; at most `size` ids in all."""
        counts: Counter[str] = Counter()
        for line in lines:
            counts.update(line.split() if separator else line)
        if size is not None and size <= FIRST:
            raise ValueError(f"vocab_size: {size}; {FIRST} ids are taken by {', '.join(SIGNS)}")
        ranked = sorted(counts, key=lambda s: (-counts[s], s))
        return cls(ranked[: None if size is None else size - FIRST], separator)

    def __len__(self) -> int:
        return FIRST + len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """Unknown symbols become <unk>."""
        return [self.ids.get(s, UNKNOWN) for s in (text.split() if self.separator else text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Symbols joined; <unk> stays visible."""
        return self.separator.join(self.pieces(i for i in ids if i >= UNKNOWN))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The symbols themselves."""
        return [SIGNS[i] if i < FIRST else self.symbols[i - FIRST] for i in ids]

    def save(self, folder: Path) -> None:
        """One file."""
        kind = "words" if self.separator else "characters"
        write_json(folder / "vocab.json", {"kind": kind, "symbols": self.symbols})


def bpe_package() -> Any:
    """The package `bpe` of this collection; ValueError with the command that installs it where it is not there."""
    try:
        metadata.version("dlpapers-bpe")  # another project has the name `bpe` on PyPI
    except metadata.PackageNotFoundError:
        raise ValueError(
            "vocab: subwords need the package dlpapers-bpe: `pip install ./packages/bpe`; "
            "or use --vocab words or characters"
        ) from None
    return import_module("bpe")


class SubwordVocabulary(Vocabulary):
    """Byte-level BPE (1508.07909) over both languages, as in section 5.1; no text is unknown to it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def build(cls, lines: Iterable[str], size: int) -> SubwordVocabulary:
        """Learn `size` ids, the four signs and 256 bytes among them."""
        if size < FIRST + 256:
            raise ValueError(f"vocab_size: {size}; subwords need at least {FIRST + 256}: every byte and four signs")
        # each line begins with a space, so that a word is the same at the begin of a line and within it
        texts = (" " + line for line in lines)
        return cls(bpe_package().train_from_iterator(texts, vocab_size=size - FIRST))

    def __len__(self) -> int:
        return FIRST + int(self.tokenizer.n_vocab)

    def encode(self, text: str) -> list[int]:
        """Every text has ids."""
        return [FIRST + i for i in self.tokenizer.encode_ordinary(" " + text)]

    def sample(self, text: str, dropout: float, rng: random.Random) -> list[int]:
        """Every merge is left out with probability `dropout`."""
        return [FIRST + i for i in self.tokenizer.encode_with_dropout(" " + text, dropout, rng)]

    def decode(self, ids: Iterable[int]) -> str:
        """Bytes that are no UTF-8 become U+FFFD."""
        return str(self.tokenizer.decode([i - FIRST for i in ids if i >= FIRST])).strip()

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id decoded by itself."""
        return [SIGNS[i] if i < FIRST else str(self.tokenizer.decode([i - FIRST])) for i in ids]

    def save(self, folder: Path) -> None:
        """`bpe.json` is the tokenizer's own format; it is written first, so that `vocab.json` never lacks it."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".bpe.{os.getpid()}.json"
        self.tokenizer.save(temporary)
        os.replace(temporary, folder / "bpe.json")
        write_json(folder / "vocab.json", {"kind": "subwords", "file": "bpe.json"})


def build_vocabulary(kind: Kind, lines: Iterable[str], size: int) -> Vocabulary:
    """A vocabulary from the training lines of both sides; characters take all there are, whatever the size."""
    if kind == "subwords":
        return SubwordVocabulary.build(lines, size)
    if kind == "words":
        return SymbolVocabulary.build(lines, " ", size)
    if kind == "characters":
        return SymbolVocabulary.build(lines, "")
    raise ValueError(f"vocab: {kind!r} is none of characters, words, subwords")


def load_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary in the folder of a run."""
    saved = read_json(folder / "vocab.json")
    kind = saved.get("kind") if isinstance(saved, dict) else None
    if kind == "subwords":
        return SubwordVocabulary(bpe_package().Tokenizer.load(folder / str(saved["file"])))
    if kind in ("characters", "words") and isinstance(saved.get("symbols"), list):
        return SymbolVocabulary(saved["symbols"], " " if kind == "words" else "")
    raise ValueError(f"{folder / 'vocab.json'}: not a vocabulary of this package")
