"""Reading files larger than memory: spans that can be split and encoded apart, exactly."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpe.patterns import PATTERNS, safe_cut

CHUNK = 1 << 22
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class Span:
    """A part of a file, in bytes."""

    path: Path
    start: int
    stop: int

    def read(self) -> str:
        """Its text; ValueError with the place in the file of what is not UTF-8."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.stop - self.start)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: byte {self.start + error.start} is not UTF-8") from None

    def __len__(self) -> int:
        """Bytes."""
        return self.stop - self.start


def spans(path: str | Path, pattern: str | None, special_tokens: Collection[str] = (), size: int = CHUNK) -> list[Span]:
    """Cut a file into spans of about `size` bytes; encoded apart they give the ids of the whole.

    Cuts are where a non-space is followed by a space and no special token is cut through: exact for the known
    patterns. For another pattern, or none, the whole file is one span.
    """
    path = Path(path)
    length = path.stat().st_size
    if pattern not in PATTERNS or length <= size:
        return [Span(path, 0, length)] if length else []
    names = [name.encode() for name in special_tokens if " " in name]  # others hold no such cut
    found, start = [], 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        target = size
        while target < length:
            stop = safe_cut(data, start + 1, target)
            while stop > 0 and _inside(data, stop, names):
                stop = safe_cut(data, start + 1, stop)
            if stop > 0:
                found.append(Span(path, start, stop))
                start, target = stop, stop + size
            else:
                target += size  # not one cut in all of it: take more
    return [*found, Span(path, start, length)]


def _inside(data: mmap.mmap, cut: int, names: Sequence[bytes]) -> bool:
    """Whether a special token lies across a cut."""
    for name in names:
        near = data[max(0, cut - len(name) + 1) : cut + len(name) - 1]
        if name in near:
            return True
    return False
