"""Read text of any size in chunks that can be split into pre-tokens independently, with exact results.

A chunk ends where a space follows a non-space and no special token is cut. The built-in patterns always end a
pre-token there. For another pattern, or none, a whole file is one chunk.
"""

from __future__ import annotations

import gzip
import importlib
import mmap
import os
import stat
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bpe._common.errors import check_integer, invalid
from bpe._common.optional import require
from bpe.pretokenize import PATTERNS, safe_cut

CHUNK_BYTES = 1 << 22
"""Bytes that are read at a time: enough to amortize the calls, little enough for many workers."""

STDIN = Path("-")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""How compressed files start. Neither can start a UTF-8 text."""


@dataclass(frozen=True)
class Span:
    """A part of a regular file, in bytes. It is read where it is needed, such as in a worker process."""

    path: Path
    start: int
    stop: int

    def read(self) -> str:
        """Return the text. Raises: ValueError that names the file and the byte that is not UTF-8."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.stop - self.start)
        return _decoded(data, self.path, self.start)

    def texts(self) -> list[str]:
        """Return the text as a list."""
        return [self.read()]

    def __len__(self) -> int:
        """Return the size in bytes."""
        return self.stop - self.start


@dataclass(frozen=True)
class Chunk:
    """A part of a stream (a pipe, stdin, a compressed file), which can be read only once."""

    path: Path
    start: int
    data: bytes

    def read(self) -> str:
        """Return the text. Raises: ValueError that names the stream and the byte that is not UTF-8."""
        return _decoded(self.data, self.path, self.start)

    def texts(self) -> list[str]:
        """Return the text as a list."""
        return [self.read()]

    def __len__(self) -> int:
        """Return the size in bytes."""
        return len(self.data)


def check_paths(files: Iterable[str | Path]) -> list[Path]:
    """Return paths as a list. Raises: ValueError for a single path, whose characters would be taken for files."""
    if isinstance(files, str | bytes | os.PathLike):
        raise invalid("files", "be a list of paths", files)
    return [Path(file) for file in files]


def chunks(
    path: str | Path, pattern: str | None, special_tokens: Collection[str] = (), size: int | None = None
) -> Iterator[Span | Chunk]:
    """Yield a file in parts of about `size` bytes (default CHUNK_BYTES); together they hold all of its bytes.

    path: a regular file, a pipe, or "-" for stdin; gzip and Zstandard are recognized by their first bytes.
    """
    size = CHUNK_BYTES if size is None else size
    check_integer("size", size, 1)
    path = Path(path)
    if is_plain_file(path):
        yield from spans(path, pattern, special_tokens, size)
    else:
        yield from _streamed(path, pattern, special_tokens, size)


def is_plain_file(path: Path) -> bool:
    """Return whether a path is a regular file that is not compressed. Raises: OSError if it does not exist."""
    if path == STDIN or not stat.S_ISREG(path.stat().st_mode):
        return False
    with path.open("rb") as file:
        return not file.read(4).startswith((GZIP, ZSTD))


def total_bytes(files: Sequence[Path]) -> int | None:
    """Return the size of all files, or None if one of them is a stream, whose size is unknown."""
    if all(map(is_plain_file, files)):
        return sum(file.stat().st_size for file in files)
    return None


def spans(
    path: str | Path, pattern: str | None, special_tokens: Collection[str] = (), size: int | None = None
) -> list[Span]:
    """Return the parts of a regular file, each of about `size` bytes (default CHUNK_BYTES)."""
    size = CHUNK_BYTES if size is None else size
    check_integer("size", size, 1)
    path = Path(path)
    length = path.stat().st_size
    if pattern not in PATTERNS or length <= size:
        return [Span(path, 0, length)] if length else []
    names = _names_with_space(special_tokens)
    parts, start = [], 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        target = size
        while target < length:
            stop = _last_cut(data, start + 1, target, names)
            if stop > 0:
                parts.append(Span(path, start, stop))
                start, target = stop, stop + size
            else:
                target += size  # nowhere to cut in all of it: take more
    return [*parts, Span(path, start, length)]


def _streamed(path: Path, pattern: str | None, special_tokens: Collection[str], size: int) -> Iterator[Chunk]:
    names = _names_with_space(special_tokens)
    margin = max(map(len, names), default=1)  # bytes after a cut that tell whether a special token is cut through
    with open_stream(path) as file:
        data, start, ended = b"", 0, False
        while not ended:
            block = read_block(file, size, path)
            ended = not block
            data += block
            if ended or pattern not in PATTERNS or len(data) < size + margin:
                continue
            stop = _last_cut(data, 1, len(data) - margin, names)
            if stop > 0:
                yield Chunk(path, start, data[:stop])
                data, start = data[stop:], start + stop
        if data:
            yield Chunk(path, start, data)


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a stream, decompress it if it starts like gzip or Zstandard, and close it at the end, but not stdin."""
    with ExitStack() as stack:
        if path == STDIN:
            if sys.stdin is None:
                raise OSError("stdin is closed")
            raw: Any = sys.stdin.buffer
        else:
            raw = stack.enter_context(path.open("rb"))
        start = raw.peek(4)[:4]
        if start.startswith(GZIP):
            raw = stack.enter_context(gzip.open(raw, "rb"))
        elif start == ZSTD:
            raw = _zstd_stream(raw, stack)
        yield raw


def _zstd_stream(raw: Any, stack: ExitStack) -> Any:
    try:
        zstd: Any = importlib.import_module("compression.zstd")  # Python 3.14
    except ImportError:
        return _ZstdStream(raw, require("zstandard", "reading .zst files"))
    return stack.enter_context(zstd.open(raw, "rb"))


class _ZstdStream:
    """Read Zstandard frames with the library `zstandard`, whose own reader accepts a file that is cut off."""

    def __init__(self, raw: Any, zstandard: Any) -> None:
        self.raw, self.zstandard = raw, zstandard
        self.frame: Any = None  # what decompresses the current frame
        self.ready = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, and none only at the end. Raises: EOFError if the file is cut off."""
        while not self.ready:
            block = self.raw.read(1 << 16)
            if not block:
                if self.frame is not None:
                    raise EOFError("ended before the end of the Zstandard frame")
                return b""
            while block:
                self.frame = self.frame or self.zstandard.ZstdDecompressor().decompressobj()
                self.ready += self.frame.decompress(block)
                block = self.frame.unused_data
                if self.frame.eof:
                    self.frame = None
        data, self.ready = self.ready[:size], self.ready[size:]
        return data


def read_block(file: IO[bytes], size: int, path: Path) -> bytes:
    """Read up to `size` bytes. Raises: ValueError for a damaged compressed file."""
    try:
        return file.read(size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged compressed file ({error})") from None
    except Exception as error:
        if type(error).__name__ == "ZstdError":
            raise ValueError(f"{path}: damaged compressed file ({error})") from None
        raise


def _names_with_space(special_tokens: Collection[str]) -> list[bytes]:
    return [name.encode() for name in special_tokens if " " in name]  # a cut before a space cannot be in others


def _last_cut(data: bytes | mmap.mmap, start: int, stop: int, names: Sequence[bytes]) -> int:
    offset = safe_cut(data, start, stop)
    while offset > 0 and _cuts_a_name(data, offset, names):
        offset = safe_cut(data, start, offset)
    return offset


def _cuts_a_name(data: bytes | mmap.mmap, cut: int, names: Sequence[bytes]) -> bool:
    """Return whether a special token lies across a cut."""
    for name in names:
        around = data[max(0, cut - len(name) + 1) : cut + len(name) - 1]
        if name in around:
            return True
    return False


def _decoded(data: bytes, path: Path, start: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        name = "stdin" if path == STDIN else path
        raise ValueError(f"{name}: byte {start + error.start} is not UTF-8. Convert it to UTF-8 first") from None
