"""Counting pre-tokens: what training needs to know of a corpus, and all that has to fit into memory.

Counts of parts of a corpus add up to the counts of the whole, so that parts can be counted by several processes or on
several machines. Pre-tokens stand in the order in which they were first seen; merged in the order of the parts, that
is the order of the whole corpus, on which the rule `first` rests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from bpe import special
from bpe.byte_letters import from_letters, to_letters
from bpe.chunks import Span, spans
from bpe.engine import compiled_available
from bpe.errors import FormatError
from bpe.formats.files import atomic, read_text
from bpe.patterns import PATTERNS, Splitter, name_of

HEADER = "#dlpapers-bpe counts, version 1, pattern "


@dataclass
class PretokenCounts:
    """Pre-token -> count, in the order first seen; counted with `pattern`."""

    pattern: str | None
    counts: dict[bytes, int] = field(default_factory=dict)

    def add(self, other: PretokenCounts) -> None:
        """Add the counts of the part of the corpus that comes next; ValueError if it was split otherwise."""
        if other.pattern != self.pattern:
            raise ValueError(
                f"counts: made with the patterns {self.pattern!r} and {other.pattern!r}; they do not add up"
            )
        mine = self.counts
        for piece, count in other.counts.items():
            mine[piece] = mine.get(piece, 0) + count

    def save(self, path: str | Path) -> None:
        """Write a text file: a line with the pattern, then in each line a count and a pre-token in letters."""
        with atomic(Path(path)) as file:
            file.write((HEADER + json.dumps(self.pattern) + "\n").encode())
            file.writelines(f"{count} {to_letters(piece)}\n".encode() for piece, count in self.counts.items())

    @classmethod
    def load(cls, path: str | Path) -> PretokenCounts:
        """Read what `save` wrote; FormatError for anything else."""
        head, _, body = read_text(Path(path)).partition("\n")
        if not head.startswith(HEADER):
            raise FormatError(f"{path}: no file of pre-token counts (they begin with {HEADER!r})")
        if body and not body.endswith("\n"):
            raise FormatError(f"{path}: its last line is cut off")
        counts: dict[bytes, int] = {}
        try:
            pattern = json.loads(head.removeprefix(HEADER))
            if not (pattern is None or isinstance(pattern, str)):
                raise FormatError(f"{path}: the pattern {pattern!r} is neither a text nor null")
            for number, line in enumerate(body.split("\n")[:-1], start=2):
                count, letters = line.split(" ")
                counts[from_letters(letters)] = int(count)
                if int(count) <= 0 or len(counts) != number - 1:
                    raise FormatError(f"{path}: line {number}: a count below 1, or a pre-token that was there before")
        except FormatError:
            raise
        except ValueError:
            raise FormatError(f"{path}: a line that is not a count and a pre-token in letters") from None
        return cls(pattern, counts)


def count_texts(
    texts: Iterable[str], pattern: str | None, special_tokens: Sequence[str] = (), *, compiled: bool = False
) -> PretokenCounts:
    """Count the pre-tokens of texts, one text at a time, so none reaches over its end; special tokens are left out."""
    pattern = name_of(pattern) or pattern
    names = frozenset(special_tokens)
    ordinary = (part for text in texts for part, is_special in special.parts(text, names) if not is_special)
    try:
        if compiled and pattern in PATTERNS:
            from bpe.fast import PretokenCounter

            counter = PretokenCounter(pattern)
            for part in ordinary:
                counter.add(part.encode())
            return PretokenCounts(pattern, counter.counts())
        split = Splitter(pattern)
        pieces: Counter[str] = Counter()
        for part in ordinary:
            pieces.update(split(part))
        return PretokenCounts(pattern, {piece.encode(): count for piece, count in pieces.items()})
    except UnicodeEncodeError as error:
        raise ValueError(f"texts: one holds a lone surrogate, U+{ord(error.object[error.start]):04X}") from None


def count_files(
    files: Iterable[str | Path],
    pattern: str | None,
    special_tokens: Sequence[str] = (),
    *,
    workers: int = 1,
    compiled: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PretokenCounts:
    """Count the pre-tokens of files in `workers` processes; the result does not depend on their number.

    `progress` is called with the bytes that are done and all there are.
    """
    if workers < 1:
        raise ValueError(f"workers: {workers} is below 1")
    pattern = name_of(pattern) or pattern
    parts = [span for file in files for span in spans(file, pattern, special_tokens)]
    everything = sum(map(len, parts))

    def report(done: int) -> None:
        if progress is not None:
            progress(done, everything)

    if workers == 1 or len(parts) == 1:

        def texts() -> Iterator[str]:
            done = 0
            for span in parts:
                yield span.read()
                done += len(span)
                report(done)

        return count_texts(texts(), pattern, special_tokens, compiled=compiled)
    job = partial(count_span, pattern=pattern, special_tokens=tuple(special_tokens), compiled=compiled)
    total, done = PretokenCounts(pattern), 0
    # spawned, not forked: the parent may run threads
    with ProcessPoolExecutor(min(workers, len(parts)), mp_context=get_context("spawn")) as processes:
        for span, counts in zip(parts, processes.map(job, parts), strict=True):
            total.add(counts)
            done += len(span)
            report(done)
    return total


def count_span(
    span: Span, pattern: str | None, special_tokens: Sequence[str] = (), *, compiled: bool = False
) -> PretokenCounts:
    """Count one span of a file, as a worker does."""
    return count_texts([span.read()], pattern, special_tokens, compiled=compiled)


def compiled_counting(engine: str) -> bool:
    """Whether counting and training run compiled for an engine's name; ValueError for a wrong one."""
    if engine not in ("auto", "python", "numba"):
        raise ValueError(f"engine: {engine!r} is not one of auto, python, numba")
    if engine == "numba" and not compiled_available():
        raise ValueError("engine: numba is not installed; it comes with pip install './packages/bpe[fast]'")
    return engine != "python" and compiled_available()
