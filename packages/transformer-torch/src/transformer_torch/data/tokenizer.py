"""Tokenizers: characters, words, or subwords that the package `bpe` learns.

Ids 0 to 3 are the same in all of them: padding, begin and end of a sentence, and unknown symbols.
"""

from __future__ import annotations

import random
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformer_torch._common.atomic import read_json, read_json_object, write_json
from transformer_torch._common.errors import check_choice, check_integer, invalid
from transformer_torch._common.optional import require
from transformer_torch._common.run_folder import TOKENIZER
from transformer_torch.recipes import TokenizerKind

PAD_ID, BOS_ID, EOS_ID, UNK_ID = range(4)
FIRST_ID = 4  # the first id of a tokenizer's own symbols
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")


class Tokenizer(ABC):
    """Converts a line of text to token ids and back."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of a line, without begin and end."""

    def sample(self, text: str, dropout: float, rng: random.Random) -> list[int]:
        """Return the ids of a randomly sampled split of a line: BPE-dropout (1910.13267). Subwords only."""
        raise invalid("bpe_dropout", "be 0 for this tokenizer", dropout, "It needs --vocab subwords")

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the line of some ids, without padding, begin and end."""

    @abstractmethod
    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Return the text of each id, for figures."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the object that tokenizer.json holds."""

    def save(self, folder: Path) -> None:
        """Write tokenizer.json into a run folder."""
        write_json(folder / TOKENIZER, self.to_dict())


class SymbolTokenizer(Tokenizer):
    """A list of symbols: characters, or words between spaces."""

    def __init__(self, symbols: Sequence[str], separator: str) -> None:
        self.symbols, self.separator = list(symbols), separator
        self.ids = {symbol: i for i, symbol in enumerate(self.symbols, FIRST_ID)}

    @classmethod
    def build(cls, lines: Iterable[str], separator: str, size: int | None = None) -> SymbolTokenizer:
        """Collect the symbols of some lines, the most frequent first; at most `size` ids, special tokens included."""
        if size is not None:
            check_integer("vocab_size", size, FIRST_ID + 1)
        counts: Counter[str] = Counter()
        for line in lines:
            counts.update(line.split() if separator else line)
        ranked = sorted(counts, key=lambda s: (-counts[s], s))
        return cls(ranked[: None if size is None else size - FIRST_ID], separator)

    def __len__(self) -> int:
        return FIRST_ID + len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """Return ids; symbols that are not in the vocabulary become <unk>."""
        return [self.ids.get(s, UNK_ID) for s in (text.split() if self.separator else text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the symbols joined; <unk> stays visible."""
        return self.separator.join(self.tokens(i for i in ids if i >= UNK_ID))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Return the symbols."""
        return [SPECIAL_TOKENS[i] if i < FIRST_ID else self.symbols[i - FIRST_ID] for i in ids]

    def to_dict(self) -> dict[str, Any]:
        """Return kind and symbols."""
        return {"kind": "words" if self.separator else "characters", "symbols": self.symbols}


def bpe_package() -> Any:
    """Return the package `bpe` of this repository. Raises: MissingDependencyError with the command that installs it."""
    return require("bpe", "`vocab` = 'subwords'", distribution="dlpapers-bpe")


class SubwordTokenizer(Tokenizer):
    """Byte-level BPE (1508.07909) over both languages, as in section 5.1. No text is unknown to it."""

    def __init__(self, bpe: Any) -> None:
        self.bpe = bpe

    @classmethod
    def build(cls, lines: Iterable[str], size: int) -> SubwordTokenizer:
        """Learn a vocabulary of `size` ids, special tokens and 256 bytes included."""
        check_integer("vocab_size", size, FIRST_ID + 256)
        # each line starts with a space, so that a word has the same tokens at the start of a line and within it
        texts = (" " + line for line in lines)
        return cls(bpe_package().train_from_iterator(texts, vocab_size=size - FIRST_ID))

    def __len__(self) -> int:
        return FIRST_ID + int(self.bpe.n_vocab)

    def encode(self, text: str) -> list[int]:
        """Return ids; every text has some."""
        return [FIRST_ID + i for i in self.bpe.encode_ordinary(" " + text)]

    def sample(self, text: str, dropout: float, rng: random.Random) -> list[int]:
        """Return ids with every merge skipped with probability `dropout`."""
        return [FIRST_ID + i for i in self.bpe.encode_with_dropout(" " + text, dropout, rng)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return one line: bytes that are not UTF-8 become U+FFFD, line breaks become spaces."""
        text = str(self.bpe.decode([i - FIRST_ID for i in ids if i >= FIRST_ID]))
        return text.replace("\r", " ").replace("\n", " ").strip()

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Return each id decoded by itself."""
        return [SPECIAL_TOKENS[i] if i < FIRST_ID else str(self.bpe.decode([i - FIRST_ID])) for i in ids]

    def to_dict(self) -> dict[str, Any]:
        """Return the file that `bpe` writes, as part of ours."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bpe.json"
            self.bpe.save(path)
            return {"kind": "subwords", "bpe": read_json(path)}


def build_tokenizer(kind: TokenizerKind, lines: Iterable[str], size: int) -> Tokenizer:
    """Build a tokenizer from the training lines of both languages. `size` does not limit characters."""
    check_choice("vocab", kind, ("characters", "words", "subwords"))
    if kind == "subwords":
        return SubwordTokenizer.build(lines, size)
    return SymbolTokenizer.build(lines, " ", size) if kind == "words" else SymbolTokenizer.build(lines, "")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer in a run folder. Raises: ValueError if tokenizer.json is missing or holds something else."""
    path = folder / TOKENIZER
    saved = read_json_object(path)
    kind = saved.get("kind")
    if kind == "subwords" and "bpe" in saved:
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / "bpe.json"
            write_json(copy, saved["bpe"])
            return SubwordTokenizer(bpe_package().Tokenizer.load(copy))
    symbols = saved.get("symbols")
    if kind in ("characters", "words") and isinstance(symbols, list) and all(isinstance(s, str) for s in symbols):
        return SymbolTokenizer(symbols, " " if kind == "words" else "")
    raise ValueError(f"{path}: not a tokenizer of this package")
