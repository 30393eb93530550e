"""What several commands need: opening a tokenizer, reading counts, reporting results, progress bars."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bpe._common.cli import say
from bpe._common.progress import Progress

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer
    from bpe.training.count import PretokenCounts

Engine = Literal["auto", "python", "numba"]
NO_PATTERN = "none"
STREAM = Path("-")


def open_tokenizer(name: str, engine: Engine, pattern: str | None = None) -> Tokenizer:
    """Return a tokenizer by path, or by the name of a published one."""
    from bpe.formats.known_files import PUBLISHED
    from bpe.hub import get_encoding
    from bpe.tokenizer import Tokenizer

    if Path(name).exists():
        if pattern is None:
            return Tokenizer.load(name, engine=engine)
        return Tokenizer.load(name, engine=engine, pattern=parse_pattern(pattern))
    if name not in PUBLISHED:
        raise ValueError(f"`tokenizer` must be a file, a folder, or one of {', '.join(PUBLISHED)}, got {name!r}")
    return get_encoding(name, engine=engine)


def parse_pattern(text: str) -> str | None:
    """Return the pattern that an option means."""
    return None if text == NO_PATTERN else text


def check_not_swallowed(option: str, values: tuple[str, ...]) -> None:
    """Explain a missing file that an option with several values has taken."""
    if taken := [value for value in values if os.path.exists(value)]:
        flag = "--" + option.replace("_", "-")
        raise ValueError(f"`files` must come before {flag}, which takes all words after it, got {taken[0]!r} as a name")


def sum_of_counts(paths: tuple[Path, ...]) -> PretokenCounts:
    """Load files of counts and add them in their order."""
    from bpe.training.count import PretokenCounts

    counts = PretokenCounts.load(paths[0])
    for path in paths[1:]:
        try:
            counts.add(PretokenCounts.load(path))
        except ValueError as error:
            raise ValueError(error if str(path) in str(error) else f"{path}: {error}") from None
    return counts


def report(out: Path, text: str) -> None:
    """Print the result; on stderr where stdout holds the output itself."""
    if out == STREAM:
        say(text)
    else:
        sys.stdout.write(f"{text}\n")


def use_color() -> bool:
    """Return whether stdout is a terminal that shows colors."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show progress of counting, then of merging."""
    shown: dict[str, Progress] = {}

    def progress(stage: str, done: int, total: int | None) -> None:
        if stage not in shown:
            close()
            shown[stage] = Progress(total, unit="B" if stage == "count" else "merge")
        shown[stage].update(done)

    def close() -> None:
        for bar in shown.values():
            bar.__exit__(None, None, None)

    try:
        yield progress
    finally:
        close()


class ByteProgress(Progress):
    """Progress in bytes that is advanced by increments."""

    def advance(self, count: int) -> None:
        """Add bytes that were done since the last call."""
        self.update(self.count + count)


def byte_progress(total: int | None) -> ByteProgress:
    """Return progress in bytes; total: None if it is unknown."""
    return ByteProgress(total, unit="B")
