"""The commands that need no input of their own: a demo, compiling ahead of time, and a comparison with `tokenizers`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bpe.command_helpers import Engine, use_color


@dataclass(kw_only=True)
class Check:
    """Compare the ids of a tokenizer.json with those of the library `tokenizers` (extra `hf`), line by line.

    Example: bpe check tokenizer.json --text corpus.txt
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A tokenizer.json, or a folder with one."""
    text: Path
    """UTF-8 text file, also .gz and .zst; - is stdin."""
    engine: Engine = "auto"
    """Engine; auto is numba where it is installed."""

    def __call__(self) -> None:
        """Encode every line with both; raise ValueError at the first difference."""
        from bpe.compare import compare_with_tokenizers

        sys.stdout.write(f"{compare_with_tokenizers(self.file, self.text, self.engine)}\n")


@dataclass
class Demo:
    """Train on Python's own documentation and show merges, tokens and compression; no network, a few seconds.

    Example: bpe demo --vocab-size 2048
    """

    vocab_size: int = 1024
    """Number of ids: 256 bytes and merges together."""
    engine: Engine = "auto"
    """Engine; auto is numba where it is installed."""
    text: str = "Python's documentation, 1,024 tokens: naïve → tokenized!"
    """Text that is shown as tokens at the end."""

    def __call__(self) -> None:
        """Run the demo and print each step."""
        from bpe.demo import demo

        for line in demo(self.vocab_size, self.engine, self.text, color=use_color()):
            sys.stdout.write(f"{line}\n")


@dataclass
class Warm:
    """Compile the kernels of the numba engine ahead of time, such as while building a container image.

    Example: bpe warm
    """

    def __call__(self) -> None:
        """Compile, and print the files."""
        from bpe.engines.choice import choose_engine
        from bpe.fast.aot import warm_up

        choose_engine("numba")  # raises if it is not installed
        for path in warm_up():
            result = path or "compiled, but no folder can store the result: set NUMBA_CACHE_DIR"
            sys.stdout.write(f"{result}\n")
