"""Count pre-tokens: the only part of a corpus that training needs, and the only part that must fit into memory.

Counts of parts of a corpus add up to the counts of the whole, so several processes or machines can count. Pre-tokens
keep the order in which they first occur. Adding parts in the order of the corpus keeps that order, which the
tie-breaking rule `first` depends on.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bpe import special
from bpe._common.atomic import atomic_write
from bpe._common.errors import check_integer, invalid
from bpe.arguments import check_texts
from bpe.byte_unicode import from_printable, to_printable
from bpe.errors import FormatError
from bpe.fast import PretokenCounter
from bpe.formats.base import read_text
from bpe.lazy import lazy_property
from bpe.pretokenize import PATTERNS, Splitter, check_pattern
from bpe.training.corpus import Chunk, Span, check_paths, chunks, total_bytes
from bpe.training.jsonl import Documents, documents, is_jsonl

if TYPE_CHECKING:
    from bpe.fast.counter import PretokenArrays

HEADER = "#dlpapers-bpe counts, version 2, "
"""How a file of counts starts; the settings of the count follow as JSON."""


class PretokenCounts:
    """Pre-token -> count, in the order of first occurrence, with the settings they depend on."""

    def __init__(
        self,
        pattern: str | None,
        counts: Mapping[bytes, int] | None = None,
        *,
        special_tokens: Iterable[str] = (),
        arrays: PretokenArrays | None = None,
    ) -> None:
        """Wrap a mapping, or the arrays of the compiled engine.

        pattern: what split the text. special_tokens: the names that were cut out of the text.
        """
        self.pattern = pattern
        self.special_tokens = frozenset(special.check_names(special_tokens))
        self.arrays = arrays
        if arrays is None:
            self.counts = dict(counts or {})

    @lazy_property
    def counts(self) -> dict[bytes, int]:
        """The mapping. After the compiled engine has counted, it is built when it is first used."""
        arrays = self.arrays
        if arrays is None:  # another thread was faster
            found: dict[bytes, int] = self.__dict__["counts"]
            return found
        data, stops = arrays[0].tobytes(), arrays[1].tolist()
        pretokens = (data[start:stop] for start, stop in pairwise([0, *stops]))
        counts = self.__dict__.setdefault("counts", dict(zip(pretokens, arrays[2].tolist(), strict=True)))
        self.arrays = None  # the mapping may be changed from now on, so it replaces the arrays
        return counts

    def __len__(self) -> int:
        """Return the number of distinct pre-tokens."""
        return len(self.counts) if self.arrays is None else len(self.arrays[1])

    def __eq__(self, other: object) -> bool:
        """Return whether settings and counts are equal."""
        return isinstance(other, PretokenCounts) and (self.pattern, self.special_tokens, self.counts) == (
            other.pattern,
            other.special_tokens,
            other.counts,
        )

    __hash__ = None  # type: ignore[assignment]  # mutable

    def add(self, other: PretokenCounts) -> None:
        """Add the counts of the next part of the corpus. Raises: ValueError if its settings differ."""
        if other.pattern != self.pattern:
            raise ValueError(f"`pattern` of counts must be equal, got {self.pattern!r} and {other.pattern!r}")
        if other.special_tokens != self.special_tokens:
            ours, theirs = sorted(self.special_tokens), sorted(other.special_tokens)
            raise ValueError(f"`special_tokens` of counts must be equal, got {ours} and {theirs}")
        mine = self.counts
        for pretoken, count in other.counts.items():
            mine[pretoken] = mine.get(pretoken, 0) + count

    def save(self, path: str | Path) -> None:
        """Write a text file: one line with the settings, then per line a count and a printable pre-token."""
        settings = {"pattern": self.pattern, "special_tokens": sorted(self.special_tokens)}
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            file.write((HEADER + json.dumps(settings) + "\n").encode())
            file.writelines(f"{count} {to_printable(pretoken)}\n".encode() for pretoken, count in self.counts.items())

    @classmethod
    def load(cls, path: str | Path) -> PretokenCounts:
        """Read what `save` wrote. Raises: FormatError for anything else."""
        head, _, body = read_text(Path(path)).partition("\n")
        if not head.startswith(HEADER):
            raise FormatError(f"{path}: not a file of pre-token counts, which starts with {HEADER!r}")
        if body and not body.endswith("\n"):
            raise FormatError(f"{path}: the last line is cut off")
        try:
            settings = json.loads(head.removeprefix(HEADER))
            pattern, names = settings["pattern"], settings["special_tokens"]
            if not isinstance(names, list):
                raise FormatError(f"{path}: `special_tokens` must be a list, got {names!r}")
            found = cls(check_pattern(pattern), special_tokens=names)
        except FormatError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path}: line 1 must hold the settings of the count ({error})") from None
        for number, line in enumerate(body.split("\n")[:-1], start=2):
            try:
                count, printable = line.split(" ")
                found.counts[from_printable(printable)] = int(count)
            except ValueError:
                raise FormatError(f"{path}: line {number} must be a count and a printable pre-token") from None
            if int(count) <= 0 or len(found.counts) != number - 1:
                raise FormatError(f"{path}: line {number} has a count below 1 or repeats a pre-token")
        return found


def count_texts(
    texts: Iterable[str | Sequence[str]],
    pattern: str | None,
    special_tokens: Sequence[str] = (),
    *,
    compiled: bool = False,
) -> PretokenCounts:
    """Count the pre-tokens of texts, or of batches of texts. No pre-token spans two texts; special tokens are cut out.

    compiled: use the compiled engine, which knows the built-in patterns; the counts are the same.
    """
    pattern = check_pattern(pattern)
    names = frozenset(special.check_names(special_tokens))
    ordinary = (
        part for text in _checked(texts) for part, is_special in special.split_at(text, names) if not is_special
    )
    try:
        if compiled and pattern in PATTERNS:
            counter = PretokenCounter(pattern)
            for part in ordinary:
                counter.add(part.encode())
            return PretokenCounts(pattern, special_tokens=names, arrays=counter.arrays())
        split = Splitter(pattern)
        counts: Counter[str] = Counter()
        for part in ordinary:
            counts.update(split(part))
        encoded = {pretoken.encode(): count for pretoken, count in counts.items()}
        return PretokenCounts(pattern, encoded, special_tokens=names)
    except UnicodeEncodeError as error:
        character = f"U+{ord(error.object[error.start]):04X}"
        raise ValueError(f"`texts` must not hold lone surrogates, got {character}, which UTF-8 cannot encode") from None


def _checked(texts: Iterable[str | Sequence[str]]) -> Iterator[str]:
    if isinstance(texts, str | bytes | bytearray | Mapping):
        raise invalid("texts", "be a list or an iterator of str", texts)
    for i, text in enumerate(texts):
        if isinstance(text, str):
            yield text
        elif isinstance(text, list | tuple):
            yield from check_texts(text, f"texts[{i}]")
        else:
            raise invalid(f"texts[{i}]", "be a str or a list of str", text)


def count_files(
    files: Iterable[str | Path],
    pattern: str | None,
    special_tokens: Sequence[str] = (),
    *,
    workers: int = 1,
    compiled: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
    jsonl_field: str = "text",
) -> PretokenCounts:
    """Count the pre-tokens of UTF-8 files (also .gz, .zst, pipes, "-") in `workers` processes.

    The result does not depend on `workers`. With several, the calling script needs `if __name__ == "__main__":`.
    progress: called with the bytes done and their total, which is None for streams. jsonl_field: the key of the text in
    .jsonl files.
    """
    check_integer("workers", workers, 1)
    pattern = check_pattern(pattern)
    names = special.check_names(special_tokens)
    paths = check_paths(files)
    total = total_bytes(paths)
    done = 0

    def report(part: Span | Chunk | Documents) -> None:
        nonlocal done
        done += len(part)
        if progress is not None:
            progress(done, total)

    parts: Iterator[Span | Chunk | Documents] = (
        part
        for path in paths
        for part in (documents(path, jsonl_field) if is_jsonl(path) else chunks(path, pattern, names))
    )
    if workers == 1:

        def texts() -> Iterator[str]:
            for part in parts:
                yield from part.texts()
                report(part)

        return count_texts(texts(), pattern, names, compiled=compiled)
    job = partial(count_part, pattern=pattern, special_tokens=tuple(names), compiled=compiled)
    counts = PretokenCounts(pattern, special_tokens=names)
    waiting: deque[tuple[Span | Chunk | Documents, Future[PretokenCounts]]] = deque()
    # spawned, not forked: the calling process may run threads
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:

        def collect() -> None:
            part, future = waiting.popleft()
            counts.add(future.result())
            report(part)

        for part in parts:
            waiting.append((part, processes.submit(job, part)))
            if len(waiting) >= 2 * workers:  # a stream may be larger than memory
                collect()
        while waiting:
            collect()
    return counts


def count_part(
    part: Span | Chunk | Documents, pattern: str | None, special_tokens: Sequence[str] = (), *, compiled: bool = False
) -> PretokenCounts:
    """Count one part of a file, as a worker does."""
    return count_texts(part.texts(), pattern, special_tokens, compiled=compiled)


def with_ids(counts: PretokenCounts, id_of: bytes) -> PretokenCounts:
    """Return the same counts with each byte replaced by its id."""
    names = counts.special_tokens
    if counts.arrays is not None:
        data, ends, numbers = counts.arrays
        arrays = np.frombuffer(id_of, np.uint8)[data], ends, numbers
        return PretokenCounts(counts.pattern, special_tokens=names, arrays=arrays)
    renamed = {word.translate(id_of): count for word, count in counts.counts.items()}
    return PretokenCounts(counts.pattern, renamed, special_tokens=names)
