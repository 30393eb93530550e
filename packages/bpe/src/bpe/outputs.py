"""Output files of the command line: never the input, never a file of another kind; `-` is stdout."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bpe._common.atomic import atomic_write

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

STDOUT = Path("-")

Recognizes = Callable[[bytes], bool]
KINDS: dict[str, Recognizes] = {
    "a native tokenizer": lambda start: b'"format": "dlpapers-bpe"' in start,
    "a file of counts": lambda start: start.startswith(b"#dlpapers-bpe counts"),
    "a description of a token file": lambda start: start.startswith(b"{") and b'"vocab_size"' in start,
    "an HTML page": lambda start: start.lower().startswith(b"<!doctype html"),
    "a tokenizer file": lambda start: not start.startswith((b"#!", b"\x7fELF")) and b"\0" not in start,
    "a text": lambda start: b"\0" not in start and b"dlpapers-bpe" not in start,
}
"""What may be overwritten by an output of the same kind, recognized by the first bytes of the file."""


def check_output(out: Path, kind: str, inputs: Sequence[Path | str]) -> None:
    """Raise ValueError if writing `out` would destroy an input or a file of another kind.

    A device or a pipe is written through, so it may be both. kind: a key of KINDS, or "a token file", which is
    recognized by the description beside it.
    """
    if out == STDOUT:
        return
    try:
        mode = out.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory", str(out))
    if not stat.S_ISREG(mode):
        return
    for path in inputs:
        if os.path.exists(path) and os.path.samefile(path, out):
            raise ValueError(f"{out}: `out` must not be an input. Choose another name")
    with out.open("rb") as file:
        start = file.read(4096)
    if kind == "a token file":
        same = Path(f"{out}.json").is_file()
    else:
        same = KINDS[kind](start)
    if start and not same:
        raise ValueError(f"{out}: exists and is not {kind}. Choose another --out, or delete it first")


def check_export(
    tokenizer: Tokenizer, folder: Path, format: Literal["huggingface", "openai", "tiktoken"], source: Path
) -> None:
    """Raise ValueError if exporting would destroy the source or a file of another kind, or cannot be done."""
    inputs = sorted(source.iterdir()) if source.is_dir() else [source]
    with tempfile.TemporaryDirectory() as trial:
        names = [path.name for path in tokenizer.export(trial, format)]
    for name in names:
        check_output(folder / name, "a tokenizer file", inputs)


@contextmanager
def output(out: Path) -> Iterator[Path]:
    """Yield a path to write; at the end it takes the place of `out`, or is copied to stdout for `-`."""
    if out != STDOUT:
        with atomic_write(out) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "out"
        yield temporary
        with temporary.open("rb") as file:
            while block := file.read(1 << 20):
                sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
