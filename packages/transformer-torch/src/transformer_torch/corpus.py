"""Parallel text: two files, a table of two columns, or a published set by its name."""

from __future__ import annotations

import gzip
import random
import zlib
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from transformer_torch.batching import Pair
from transformer_torch.vocab import BOS, EOS, Vocabulary

NAMED = ("multi30k-de-en", "multi30k-en-de")


@dataclass(frozen=True)
class Corpus:
    """Lines of the source and of the target, of equal number; `name` for messages."""

    src: list[str]
    tgt: list[str]
    name: str = "corpus"

    def __post_init__(self) -> None:
        if len(self.src) != len(self.tgt):
            raise ValueError(f"{self.name}: {len(self.src):,} lines of source, {len(self.tgt):,} of target")
        if not self.src:
            raise ValueError(f"{self.name}: empty")
        for side, lines in (("source", self.src), ("target", self.tgt)):
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    raise ValueError(f"{self.name}: line {number:,} of the {side} is empty")

    def __len__(self) -> int:
        return len(self.src)

    def encoded(self, vocabulary: Vocabulary, max_length: int) -> list[Pair]:
        """Ids of every pair: the source ends with the end id, the target has begin and end."""
        pairs = [
            ([*vocabulary.encode(s), EOS], [BOS, *vocabulary.encode(t), EOS])
            for s, t in zip(self.src, self.tgt, strict=True)
        ]
        for number, (src, tgt) in enumerate(pairs, 1):
            longest = max(len(src), len(tgt) - 1)
            if longest > max_length:
                raise ValueError(
                    f"{self.name}: line {number:,} has {longest:,} tokens; "
                    f"this model has {max_length:,} positions (--max-length)"
                )
        return pairs

    def sampled(self, vocabulary: Vocabulary, max_length: int, dropout: float, seed: str) -> list[Pair]:
        """Ids of every pair by BPE-dropout (1910.13267): a seed for each epoch, and no two split the words alike.

        A line that becomes too long for the model is split as usual.
        """
        rng = random.Random(seed)

        def ids(text: str) -> list[int]:
            found = vocabulary.sample(text, dropout, rng)
            return found if len(found) < max_length else vocabulary.encode(text)

        return [([*ids(s), EOS], [BOS, *ids(t), EOS]) for s, t in zip(self.src, self.tgt, strict=True)]


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, which may be gzipped. Only a line feed ends a line, as for other translation tools."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start:,})") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from None
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_parallel(src: Path, tgt: Path | None) -> Corpus:
    """Two files of the same number of lines; or, without `tgt`, one .tsv of source and target."""
    if tgt is not None:
        return Corpus(read_lines(src), read_lines(tgt), f"{src}, {tgt}")
    rows = [line.split("\t") for line in read_lines(src)]
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise ValueError(f"{src}: line {number:,} has {len(row)} columns; source and target, divided by one tab")
    return Corpus([row[0] for row in rows], [row[1] for row in rows], str(src))


def named_corpus(name: str, split: str) -> Corpus:
    """Multi30k (1605.00459) through the package `dlpapers_shared`; split: train, val, test_2016_flickr, ..."""
    if name not in NAMED:
        raise ValueError(f"data: {name!r} is none of {', '.join(NAMED)}")
    try:
        metadata.version("dlpapers-shared")
    except metadata.PackageNotFoundError:
        raise ValueError(
            f"data: {name} needs the package dlpapers-shared: `pip install ./shared`; or give --src and --tgt"
        ) from None
    fetch = import_module("dlpapers_shared.data").fetch
    src, tgt = (read_lines(fetch(f"mt/{split}.{language}.gz")) for language in name.split("-")[1:])
    return Corpus(src, tgt, f"{name} {split}")
