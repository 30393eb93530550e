"""The commands of `bpe`: train tokenizers, encode and decode files, inspect tokens, convert formats."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bpe._common.cli import Presets, run, say
from bpe.cli_checks import Check, Demo, Warm
from bpe.command_helpers import (
    STREAM,
    Engine,
    byte_progress,
    check_not_swallowed,
    open_tokenizer,
    parse_pattern,
    progress_bars,
    report,
    sum_of_counts,
    use_color,
)

Files = Annotated[tuple[Path, ...], tyro.conf.Positional]
File = Annotated[Path, tyro.conf.Positional]
IDS_PER_STEP = 1_000_000


@dataclass
class Train:
    """Train a tokenizer on UTF-8 files, or on counts that `bpe count` wrote.

    Example: bpe train corpus.txt --vocab-size 4096 --special-tokens "<|endoftext|>" --out tokenizer.json
    """

    files: Files = ()
    """Text files, also .gz and .zst; - is stdin. Of .jsonl files, each line holds a text."""
    vocab_size: int = 1024
    """Number of ids: 256 bytes, merges and special tokens together."""
    out: Path = Path("tokenizer.json")
    """Tokenizer to write, in the native format; - is stdout."""
    pattern: str = "gpt2"
    """Pattern that splits text before merging: gpt2, cl100k, o200k, a regular expression, or none for no split."""
    ties: Literal["first", "ids", "bytes"] = "first"
    """Tie-breaking rule for equally frequent pairs: as minbpe (first), Hugging Face (ids) or subword-nmt (bytes)."""
    special_tokens: tuple[str, ...] = ()
    """Names such as <|endoftext|>. They get the last ids and are cut out of the texts."""
    min_frequency: int = 1
    """Pairs that occur less often are not merged."""
    max_token_length: int | None = None
    """Longest token in bytes that a merge may form."""
    limit_alphabet: int | None = None
    """Number of distinct bytes, the most frequent ones, that take part in merges."""
    counts: tuple[Path, ...] = ()
    """Files of counts instead of texts, in the order of the corpus."""
    jsonl_field: str = "text"
    """Key of the text in the lines of .jsonl files."""
    workers: int = 1
    """Number of processes that count."""
    engine: Engine = "auto"
    """Engine; auto is numba where it is installed."""

    def __call__(self) -> None:
        """Train, save, and report the size."""
        from bpe.outputs import check_output, output
        from bpe.training.api import train, train_from_counts

        if bool(self.files) == bool(self.counts):
            check_not_swallowed("special_tokens", self.special_tokens)
            raise ValueError("`files` must be text files, unless --counts names files of counts: give one of the two")
        if self.counts and (self.pattern != "gpt2" or self.workers != 1):
            raise ValueError("`counts` must be used without --pattern and --workers: the files state their pattern")
        check_output(self.out, "a native tokenizer", [*self.files, *self.counts])
        options: dict[str, Any] = {
            "vocab_size": self.vocab_size,
            "ties": self.ties,
            "special_tokens": self.special_tokens,
            "min_frequency": self.min_frequency,
            "max_token_length": self.max_token_length,
            "limit_alphabet": self.limit_alphabet,
            "engine": self.engine,
        }
        with progress_bars() as progress:
            if self.counts:
                tokenizer = train_from_counts(sum_of_counts(self.counts), progress=progress, **options)
            else:
                options |= {
                    "pattern": parse_pattern(self.pattern),
                    "workers": self.workers,
                    "jsonl_field": self.jsonl_field,
                }
                tokenizer = train(self.files, progress=progress, **options)
        with output(self.out) as path:
            tokenizer.save(path)
        ended = "" if tokenizer.n_vocab == self.vocab_size else "; no pair is left to merge"
        report(self.out, f"{self.out}: {tokenizer.n_vocab:,} ids, {len(tokenizer.merges):,} merges{ended}")


@dataclass(kw_only=True)
class Count:
    """Count the pre-tokens of files for `bpe train --counts`; counts of parts of a corpus add up.

    Example: bpe count part1.txt part2.txt.gz --out corpus.counts
    """

    files: Files = ()
    """UTF-8 text files, also .gz and .zst; - is stdin. Of .jsonl files, each line holds a text."""
    out: Path
    """File of counts to write; - is stdout."""
    pattern: str = "gpt2"
    """Pattern that splits text before merging: gpt2, cl100k, o200k, a regular expression, or none for no split."""
    special_tokens: tuple[str, ...] = ()
    """Names that are cut out of the texts."""
    jsonl_field: str = "text"
    """Key of the text in the lines of .jsonl files."""
    workers: int = 1
    """Number of processes that count."""
    engine: Engine = "auto"
    """Engine; auto is numba where it is installed."""

    def __call__(self) -> None:
        """Count and write."""
        from bpe.engines.choice import choose_engine
        from bpe.outputs import check_output, output
        from bpe.training.count import count_files

        if not self.files:
            check_not_swallowed("special_tokens", self.special_tokens)
            raise ValueError("`files` must name at least one text file")
        check_output(self.out, "a file of counts", self.files)
        with progress_bars() as progress:
            counts = count_files(
                self.files,
                parse_pattern(self.pattern),
                self.special_tokens,
                workers=self.workers,
                jsonl_field=self.jsonl_field,
                compiled=choose_engine(self.engine, kernel="count") == "numba",
                progress=lambda done, total: progress("count", done, total),
            )
        with output(self.out) as path:
            counts.save(path)
        report(self.out, f"{self.out}: {sum(counts.counts.values()):,} pre-tokens, {len(counts):,} distinct")


@dataclass
class Encode:
    """Encode a UTF-8 file of any size into a token file: uint16 or uint32 ids, depending on the vocabulary.

    Example: bpe encode corpus.txt --tokenizer tokenizer.json --out corpus.bin
    """

    file: File
    """Text file, also .gz and .zst; - is stdin."""
    tokenizer: str
    """Tokenizer file or folder in any format, or a published name: gpt2, cl100k_base, …"""
    out: Path | None = None
    """Token file to write; by default the name of the text with .bin. NAME.json describes it. - is stdout."""
    special: Literal["error", "allow", "text"] = "error"
    """Special tokens in the text: refuse the text, encode them as their ids, or encode them as ordinary text."""
    num_threads: int = 1
    """Number of threads; several help with the compiled engine."""
    engine: Engine = "auto"
    """Engine; auto is numba where it is installed."""

    def __call__(self) -> None:
        """Encode, and report the number of ids."""
        from bpe._common.errors import check_integer
        from bpe.outputs import check_output
        from bpe.token_file import description_of, write_ids
        from bpe.training.corpus import total_bytes

        check_integer("num_threads", self.num_threads, 1)
        size = total_bytes([self.file])
        tokenizer = open_tokenizer(self.tokenizer, self.engine)
        out = self.out or (STREAM if self.file == STREAM else self.file.with_suffix(".bin"))
        inputs: list[Path | str] = [self.file, self.tokenizer]
        check_output(out, "a token file", inputs)
        if out != STREAM:
            check_output(description_of(out), "a description of a token file", inputs)
        progress = byte_progress(size)
        with progress:
            try:
                about = write_ids(
                    tokenizer,
                    self.file,
                    out,
                    num_threads=self.num_threads,
                    progress=progress.advance,
                    allowed_special="all" if self.special == "allow" else frozenset(),
                    disallowed_special=() if self.special == "text" else "all",
                )
            except ValueError as error:
                hint, python, _ = str(error).partition("Pass allowed_special")
                raise ValueError(f"{hint}Use --special allow or --special text" if python else hint) from None
        ratio = progress.count / max(1, about["tokens"])
        bits = 16 if about["dtype"] == "<u2" else 32
        report(out, f"{out}: {about['tokens']:,} ids, uint{bits}, {ratio:.2f} bytes of text per id")


@dataclass
class Decode:
    """Decode a token file into text.

    Example: bpe decode corpus.bin --tokenizer tokenizer.json --out corpus.txt
    """

    file: File
    """Token file, as `bpe encode` writes it; - is stdin."""
    tokenizer: str
    """Tokenizer file or folder in any format, or a published name. It must be the one that wrote the ids."""
    out: Path = STREAM
    """Text file to write; - is stdout."""
    engine: Engine = "auto"
    """Engine; auto is numba where it is installed."""

    def __call__(self) -> None:
        """Decode step by step."""
        from bpe.outputs import check_output, output
        from bpe.token_file import description_of, read_ids

        check_output(self.out, "a text", [self.file, self.tokenizer, description_of(self.file)])
        tokenizer = open_tokenizer(self.tokenizer, self.engine)
        ids = read_ids(self.file, tokenizer)
        parts = (tokenizer.decode_bytes(ids[i : i + IDS_PER_STEP]) for i in range(0, len(ids), IDS_PER_STEP))
        if self.out == STREAM:
            sys.stdout.buffer.writelines(parts)
        else:
            with output(self.out) as path, path.open("wb") as file:
                file.writelines(parts)


@dataclass
class Inspect:
    """Show how a text splits into tokens: in color in a terminal, and as an HTML page.

    Example: bpe inspect --tokenizer gpt2 --text "Hello world" --html page.html
    """

    tokenizer: str
    """Tokenizer file or folder in any format, or a published name."""
    file: Annotated[Path | None, tyro.conf.Positional] = None
    """UTF-8 text file; - is stdin."""
    text: str | None = None
    """Text to show, instead of a file."""
    steps: str | None = None
    """Word whose merges are shown one by one, instead of a text."""
    html: Path | None = None
    """HTML page to write; - is stdout."""
    engine: Engine = "auto"
    """Engine; auto is numba where it is installed."""

    def __call__(self) -> None:
        """Print the tokens, then their number on stderr."""
        from bpe.outputs import check_output, output
        from bpe.training.corpus import chunks
        from bpe.visualize import html_page, merge_steps, terminal_tokens

        if sum(x is not None for x in (self.file, self.text, self.steps)) != 1:
            raise ValueError("`file` must be a text file, unless --text or --steps is given: give one of the three")
        if self.html is not None:
            check_output(self.html, "an HTML page", [self.tokenizer, *([self.file] if self.file else [])])
        tokenizer = open_tokenizer(self.tokenizer, self.engine)
        if self.steps is not None:
            for step in merge_steps(tokenizer, self.steps):
                print(" ".join(step))
            return
        text = self.text if self.file is None else "".join(part.read() for part in chunks(self.file, None))
        assert text is not None
        if self.html is not None:
            with output(self.html) as path:
                path.write_text(html_page(tokenizer, text), encoding="utf-8")
        if self.html != STREAM:
            print(terminal_tokens(tokenizer, text, color=use_color()))
        ids = f"{len(tokenizer.encode(text, allowed_special='all')):,} ids"
        say(f"{ids}, {len(text):,} characters, {len(text.encode('utf-8', 'replace')):,} bytes")


@dataclass
class Convert:
    """Convert a tokenizer from any format into another.

    Example: bpe convert gpt2 --to huggingface --out gpt2-files
    """

    source: Annotated[str, tyro.conf.Positional]
    """Tokenizer file or folder in any format, or a published name."""
    to: Literal["native", "huggingface", "openai", "tiktoken"]
    """Format to write."""
    out: Path
    """Folder to write into; for the native format, a file, or - for stdout."""
    pattern: str | None = None
    """Pattern of a .tiktoken file, which does not state its own: gpt2, cl100k, o200k, a regular expression, or none."""

    def __call__(self) -> None:
        """Convert, and print the names of the files."""
        from bpe.outputs import check_export, check_output, output

        tokenizer = open_tokenizer(self.source, "python", self.pattern)
        if self.to == "native":
            check_output(self.out, "a native tokenizer", [self.source])
            with output(self.out) as path:
                tokenizer.save(path)
            report(self.out, str(self.out))
            return
        check_export(tokenizer, self.out, self.to, Path(self.source))
        print(*tokenizer.export(self.out, self.to), sep="\n")


COMMANDS: dict[str, type | Presets] = {
    "train": Train,
    "encode": Encode,
    "decode": Decode,
    "count": Count,
    "inspect": Inspect,
    "convert": Convert,
    "check": Check,
    "demo": Demo,
    "warm": Warm,
}


def main() -> None:
    """Parse the command line and run the command."""
    run(COMMANDS, prog="bpe", description="Byte-level BPE: train tokenizers, encode and decode files, inspect tokens.")
