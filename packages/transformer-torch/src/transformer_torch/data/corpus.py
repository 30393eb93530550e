"""Parallel text: two files, a table of two columns, or a dataset by its name."""

from __future__ import annotations

import gzip
import random
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformer_torch._common.errors import check_choice
from transformer_torch._common.optional import require
from transformer_torch.data.batching import Pair
from transformer_torch.data.tokenizer import BOS_ID, EOS_ID, Tokenizer

DATASETS = ("multi30k-de-en", "multi30k-en-de")
MAX_HELD_OUT = 1000


@dataclass(frozen=True)
class Corpus:
    """Lines of source and target, of equal number. `name` is used in messages."""

    src: list[str]
    tgt: list[str]
    name: str = "corpus"

    def __post_init__(self) -> None:
        if len(self.src) != len(self.tgt):
            raise ValueError(
                f"{self.name}: source and target must have as many lines, got {len(self.src):,} and {len(self.tgt):,}"
            )
        if not self.src:
            raise ValueError(f"{self.name}: no lines")

    def __len__(self) -> int:
        return len(self.src)

    def cleaned(self) -> Corpus:
        """Return the pairs in which neither side is blank."""
        kept = [(s, t) for s, t in zip(self.src, self.tgt, strict=True) if s.strip() and t.strip()]
        if not kept:
            raise ValueError(f"{self.name}: every line is blank")
        return Corpus([s for s, _ in kept], [t for _, t in kept], self.name)

    def held_out(self, seed: int = 0) -> tuple[Corpus, Corpus]:
        """Return training and validation pairs: a random twentieth, at most 1,000 pairs, is held out."""
        if len(self) < 2:
            raise ValueError(f"{self.name}: needs at least 2 lines, one of them for validation, got {len(self)}")
        chosen = set(random.Random(seed).sample(range(len(self)), max(1, min(MAX_HELD_OUT, len(self) // 20))))
        parts = []
        for inside, name in ((False, self.name), (True, f"{self.name}, held-out lines")):
            rows = [i for i in range(len(self)) if (i in chosen) == inside]
            parts.append(Corpus([self.src[i] for i in rows], [self.tgt[i] for i in rows], name))
        return parts[0], parts[1]

    def encode(
        self, tokenizer: Tokenizer, max_length: int, say: Callable[[str], None] = lambda text: None
    ) -> list[Pair]:
        """Return the ids of every pair: the source ends with the end id, the target has begin and end.

        Pairs with a blank side or more than `max_length` tokens on a side are skipped; `say` is told how many.
        Raises: ValueError if no pair is left.
        """
        return self._encode(tokenizer.encode, max_length, say)

    def sample(self, tokenizer: Tokenizer, max_length: int, dropout: float, seed: str) -> list[Pair]:
        """Return the ids of every pair with BPE-dropout (1910.13267); the split of the words depends on `seed`.

        A line that becomes too long for the model is split without dropout.
        """
        rng = random.Random(seed)

        def ids(text: str) -> list[int]:
            found = tokenizer.sample(text, dropout, rng)
            return found if len(found) < max_length else tokenizer.encode(text)

        return self._encode(ids, max_length, lambda text: None)

    def _encode(self, ids: Callable[[str], list[int]], max_length: int, say: Callable[[str], None]) -> list[Pair]:
        pairs, blank, long = [], 0, 0
        for s, t in zip(self.src, self.tgt, strict=True):
            if not (s.strip() and t.strip()):
                blank += 1
                continue
            src, tgt = [*ids(s), EOS_ID], [BOS_ID, *ids(t), EOS_ID]
            if max(len(src), len(tgt) - 1) > max_length:
                long += 1
            else:
                pairs.append((src, tgt))
        if not pairs:
            raise ValueError(
                f"{self.name}: no pair has text on both sides and at most {max_length:,} tokens (--max-length)"
            )
        for count, what in ((blank, "with a blank side"), (long, f"longer than {max_length:,} tokens (--max-length)")):
            if count:
                say(f"{self.name}: skipped {count:,} of {len(self):,} pairs {what}")
        return pairs


def read_lines(path: Path) -> list[str]:
    r"""Return the lines of a UTF-8 file, which may be gzipped; "-" is stdin.

    Only a line feed ends a line, as in other translation tools, so that parallel files stay aligned. A byte-order
    mark and a carriage return before a line feed are dropped.
    Raises: ValueError that names the file if it is not UTF-8 or not a complete gzip file.
    """
    name = "stdin" if str(path) == "-" else str(path)
    raw = sys.stdin.buffer.read() if name == "stdin" else path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not UTF-8 (byte {error.start:,}). Convert it to UTF-8 first") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{name}: not a complete gzip file ({error})") from None
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_parallel(src: Path, tgt: Path | None) -> Corpus:
    """Return two files with as many lines as one corpus; or, without `tgt`, one .tsv of source and target."""
    if tgt is not None:
        return Corpus(read_lines(src), read_lines(tgt), f"{src}, {tgt}")
    rows = [line.split("\t") for line in read_lines(src)]
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise ValueError(
                f"{src}:{number}: must have 2 columns, source and target with a tab between, got {len(row)}. "
                "For two files, add --tgt"
            )
    return Corpus([row[0] for row in rows], [row[1] for row in rows], str(src))


def load_dataset(name: str, split: str) -> Corpus:
    """Return Multi30k (1605.00459), by the package `dlpapers_shared`. split: train, val, test_2016_flickr, …"""
    check_choice("data", name, DATASETS)
    fetch = require("dlpapers_shared.data", f"`data` = {name!r}", distribution="dlpapers-shared").fetch
    src, tgt = (read_lines(fetch(f"mt/{split}.{language}.gz")) for language in name.split("-")[1:])
    return Corpus(src, tgt, f"{name} {split}")
