"""Counting pre-tokens: what training needs to know of a corpus, and all that has to fit into memory.

Counts of parts of a corpus add up to the counts of the whole, so that parts can be counted by several processes or on
several machines. Pre-tokens stand in the order in which they were first seen; merged in the order of the parts, that
is the order of the whole corpus, on which the rule `first` rests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property, partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bpe import special
from bpe.byte_letters import from_letters, to_letters
from bpe.chunks import Span, spans
from bpe.errors import FormatError
from bpe.formats.files import atomic, read_text
from bpe.patterns import PATTERNS, Splitter, name_of

HEADER = "#dlpapers-bpe counts, version 1, pattern "


Arrays = tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint64]]
"""All pre-tokens one after another, where each ends, how often it occurs: what compiled code counts and learns from."""


class PretokenCounts:
    """Pre-token -> count, in the order first seen; counted with `pattern`."""

    def __init__(self, pattern: str | None, counts: Mapping[bytes, int] | None = None, arrays: Arrays | None = None):
        """From a mapping, or from the arrays of the compiled engine."""
        self.pattern = pattern
        self.arrays = arrays
        if arrays is None:
            self.counts = dict(counts or {})

    @cached_property
    def counts(self) -> dict[bytes, int]:
        """The mapping. Where the compiled engine counted, it is only made when it is asked for."""
        arrays, self.arrays = self.arrays, None  # from now on the mapping counts, which may be changed
        assert arrays is not None
        data, stops = arrays[0].tobytes(), arrays[1].tolist()
        pieces = (data[start:stop] for start, stop in pairwise([0, *stops]))
        return dict(zip(pieces, arrays[2].tolist(), strict=True))

    def __eq__(self, other: object) -> bool:
        """Whether pattern and counts are the same."""
        return isinstance(other, PretokenCounts) and (self.pattern, self.counts) == (other.pattern, other.counts)

    __hash__ = None  # type: ignore[assignment]  # it changes

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
            return PretokenCounts(pattern, arrays=counter.arrays())
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


def with_ids(counts: PretokenCounts, id_of: bytes) -> PretokenCounts:
    """The same counts with each byte replaced by its id."""
    if counts.arrays is not None:
        data, ends, numbers = counts.arrays
        return PretokenCounts(counts.pattern, arrays=(np.frombuffer(id_of, np.uint8)[data], ends, numbers))
    return PretokenCounts(counts.pattern, {word.translate(id_of): count for word, count in counts.counts.items()})
