"""Byte-level BPE: train tokenizers, encode and decode files, look at tokens, convert formats."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

Engine = Literal["auto", "python", "numba"]
Files = Annotated[tuple[Path, ...], tyro.conf.Positional]
File = Annotated[Path, tyro.conf.Positional]
NO_PATTERN = "none"


@dataclass
class Train:
    """Train a tokenizer on UTF-8 files, or on counts made before."""

    files: Files = ()
    """Text files."""
    vocab_size: int = 1024
    """Bytes, merges and special tokens together."""
    out: Path = Path("tokenizer.json")
    """The tokenizer to write, in the own format."""
    pattern: str = "gpt2"
    """gpt2, cl100k, o200k, a regular expression, or none for no split before merging."""
    ties: Literal["first", "ids", "bytes"] = "first"
    """Which of several most frequent pairs is merged: as minbpe (first), Hugging Face (ids), subword-nmt (bytes)."""
    special_tokens: tuple[str, ...] = ()
    """Names such as <|endoftext|>; they get the last ids and are cut out of the texts."""
    min_frequency: int = 1
    """Pairs that are rarer are not merged."""
    counts: tuple[Path, ...] = ()
    """Files of counts instead of texts, in the order of the corpus (see `bpe count`)."""
    workers: int = 1
    """Processes that count."""
    engine: Engine = "auto"
    """auto: numba where it is installed."""

    def __call__(self) -> None:
        """Train, save, and say what came of it."""
        from bpe.counts import PretokenCounts
        from bpe.training import train, train_from_counts

        if bool(self.files) == bool(self.counts):
            raise ValueError("files: give text files, or --counts with files of counts; one of the two")
        options: dict[str, Any] = {
            "vocab_size": self.vocab_size,
            "ties": self.ties,
            "special_tokens": self.special_tokens,
            "min_frequency": self.min_frequency,
            "engine": self.engine,
        }
        with bar() as progress:
            if self.counts:
                counts = PretokenCounts.load(self.counts[0])
                for path in self.counts[1:]:
                    counts.add(PretokenCounts.load(path))
                tokenizer = train_from_counts(counts, progress=progress, **options)
            else:
                pattern = pattern_of(self.pattern)
                tokenizer = train(self.files, pattern=pattern, workers=self.workers, progress=progress, **options)
        tokenizer.save(self.out)
        print(f"{self.out}: {tokenizer.n_vocab:,} ids, {len(tokenizer.merges):,} merges")


@dataclass
class Count:
    """Count the pre-tokens of files, for `bpe train --counts`; counts of parts of a corpus add up."""

    files: Files
    """UTF-8 text files."""
    out: Path
    """The file of counts to write."""
    pattern: str = "gpt2"
    """gpt2, cl100k, o200k, a regular expression, or none."""
    special_tokens: tuple[str, ...] = ()
    """Names that are cut out of the texts."""
    workers: int = 1
    """Processes that count."""
    engine: Engine = "auto"
    """auto: numba where it is installed."""

    def __call__(self) -> None:
        """Count and write."""
        from bpe.counts import count_files
        from bpe.engine import choose_engine

        compiled = choose_engine(self.engine) == "numba"
        with bar() as progress:
            counts = count_files(
                self.files,
                pattern_of(self.pattern),
                self.special_tokens,
                workers=self.workers,
                compiled=compiled,
                progress=lambda done, total: progress("count", done, total),
            )
        counts.save(self.out)
        print(f"{self.out}: {sum(counts.counts.values()):,} pre-tokens, {len(counts.counts):,} distinct")


@dataclass
class Encode:
    """Encode a UTF-8 file of any size into a file of ids, uint16 or uint32 by the size of the vocabulary."""

    file: File
    """The text."""
    tokenizer: str
    """A tokenizer's file or folder in any format, or a published name: gpt2, cl100k_base, …"""
    out: Path | None = None
    """The file of ids; by default the text's name with .bin. Beside it, with .json, what it holds."""
    special: Literal["error", "allow", "text"] = "error"
    """Special tokens in the text: refuse it, make their ids, or read them as ordinary text."""
    num_threads: int = 1
    """Threads; they help on the compiled engine."""
    engine: Engine = "auto"
    """auto: numba where it is installed."""

    def __call__(self) -> None:
        """Encode, and say how many ids there are."""
        from bpe.stream import write_ids

        if self.num_threads < 1:
            raise ValueError(f"num_threads: {self.num_threads} is below 1")
        size = self.file.stat().st_size
        tokenizer = open_tokenizer(self.tokenizer, self.engine)
        out = self.out or self.file.with_suffix(".bin")
        how: dict[str, Any] = {}
        if self.special == "allow":
            how["allowed_special"] = "all"
        elif self.special == "text":
            how["disallowed_special"] = ()
        with bytes_bar(size) as done:
            about = write_ids(tokenizer, self.file, out, num_threads=self.num_threads, progress=done, **how)
        per_id = size / max(1, about["tokens"])
        print(f"{out}: {about['tokens']:,} ids of {about['dtype']}, {per_id:.2f} bytes of text per id")


@dataclass
class Decode:
    """Decode a file of ids into text, on stdout or into a file."""

    file: File
    """The ids, as `bpe encode` writes them."""
    tokenizer: str
    """A tokenizer's file or folder in any format, or a published name."""
    out: Path | None = None
    """The text's file; by default stdout."""
    engine: Engine = "auto"
    """auto: numba where it is installed."""

    def __call__(self) -> None:
        """Decode a million ids at a time."""
        from bpe.formats.files import atomic
        from bpe.stream import read_ids

        tokenizer = open_tokenizer(self.tokenizer, self.engine)
        ids = read_ids(self.file, tokenizer.n_vocab)
        parts = (tokenizer.decode_bytes(ids[i : i + 1_000_000]) for i in range(0, len(ids), 1_000_000))
        if self.out is None:
            for part in parts:
                sys.stdout.buffer.write(part)
        else:
            with atomic(self.out) as file:
                file.writelines(parts)


@dataclass
class Inspect:
    """Show how a text falls into tokens: coloured in a terminal, and as an HTML page."""

    tokenizer: str
    """A tokenizer's file or folder in any format, or a published name."""
    file: Annotated[Path | None, tyro.conf.Positional] = None
    """A UTF-8 text file."""
    text: str | None = None
    """The text itself, instead of a file."""
    html: Path | None = None
    """An HTML page to write."""
    engine: Engine = "auto"
    """auto: numba where it is installed."""

    def __call__(self) -> None:
        """Print the pieces, then how many there are."""
        from bpe.formats.files import read_text, write_text
        from bpe.show import html_page, terminal_pieces

        if (self.file is None) == (self.text is None):
            raise ValueError("file: give a text file, or --text with the text itself; one of the two")
        text = read_text(self.file) if self.file is not None else str(self.text)
        tokenizer = open_tokenizer(self.tokenizer, self.engine)
        if self.html is not None:
            write_text(self.html, html_page(tokenizer, text))
        print(terminal_pieces(tokenizer, text, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
        ids = tokenizer.encode(text, allowed_special="all")
        print(f"{len(ids):,} ids, {len(text):,} characters, {len(text.encode()):,} bytes", file=sys.stderr)


@dataclass
class Convert:
    """Convert a tokenizer from any of the formats into another."""

    source: Annotated[str, tyro.conf.Positional]
    """A tokenizer's file or folder, or a published name."""
    to: Literal["own", "huggingface", "openai", "tiktoken"]
    """The format to write."""
    out: Path
    """A folder; for the own format a file."""
    pattern: str | None = None
    """For a .tiktoken file, which does not state its own: gpt2, cl100k, o200k, a regular expression, or none."""

    def __call__(self) -> None:
        """Convert, and name the files."""
        tokenizer = open_tokenizer(self.source, "python", self.pattern)
        if self.to == "own":
            tokenizer.save(self.out)
            print(self.out)
        else:
            print(*tokenizer.export(self.out, self.to), sep="\n")


@dataclass
class Demo:
    """Train on the interpreter's own documentation and show what comes of it; no network, a few seconds."""

    vocab_size: int = 1024
    """Bytes and merges together."""
    engine: Engine = "auto"
    """auto: numba where it is installed."""
    text: str = field(default="The interpreter's documentation, 1,024 tokens: naïve → tokenized!")
    """What is shown in pieces at the end."""

    def __call__(self) -> None:
        """Print the story."""
        from bpe.demo import demo

        for line in demo(self.vocab_size, self.engine, self.text, colour=sys.stdout.isatty()):
            print(line)


def open_tokenizer(name: str, engine: Engine, pattern: str | None = None) -> Tokenizer:
    """A tokenizer by path, or by the name of a published one."""
    from bpe.published import PUBLISHED, get_encoding
    from bpe.tokenizer import Tokenizer

    if not Path(name).exists() and name in PUBLISHED:
        return get_encoding(name, engine=engine)
    if not Path(name).exists():
        raise ValueError(f"tokenizer: {name} is no file or folder, nor one of {', '.join(PUBLISHED)}")
    hints = {} if pattern is None else {"pattern": pattern_of(pattern)}
    return Tokenizer.load(name, engine=engine, **hints)


def pattern_of(text: str) -> str | None:
    """A pattern as the command line names it."""
    return None if text == NO_PATTERN else text


@contextmanager
def bar() -> Iterator[Any]:
    """Progress bars for counting and merging, on a terminal only."""
    from tqdm import tqdm

    bars: dict[str, tqdm[Any]] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            options: dict[str, Any] = {"unit": "B", "unit_scale": True} if stage == "count" else {"unit": " merges"}
            bars[stage] = tqdm(total=total, desc=stage, disable=None, **options)
        bars[stage].update(done - bars[stage].n)

    try:
        yield progress
    finally:
        for shown in bars.values():
            shown.close()


@contextmanager
def bytes_bar(total: int) -> Iterator[Any]:
    """A progress bar of bytes, on a terminal only; yields what to call with the bytes that are done."""
    from tqdm import tqdm

    with tqdm(total=total, unit="B", unit_scale=True, disable=None) as shown:
        yield shown.update


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "encode": Encode,
    "decode": Decode,
    "count": Count,
    "inspect": Inspect,
    "convert": Convert,
    "demo": Demo,
}


def main() -> None:
    """Parse the command line and run it; bad input is one line on stderr and exit status 2."""
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="bpe", description=__doc__)
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
