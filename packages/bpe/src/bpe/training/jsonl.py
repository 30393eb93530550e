"""Read .jsonl files: one JSON object per line, one of whose values is a text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpe.training.corpus import CHUNK_BYTES, open_stream, read_block

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True)
class Documents:
    """The texts of some adjacent lines."""

    lines: list[str]
    size: int
    """Size of the lines in bytes."""

    def texts(self) -> list[str]:
        """Return the texts."""
        return self.lines

    def __len__(self) -> int:
        """Return the size in bytes."""
        return self.size


def is_jsonl(path: Path) -> bool:
    """Return whether a file is read as JSON lines, by its name."""
    return path.name.lower().endswith(SUFFIXES)


def documents(path: Path, field: str, size: int = CHUNK_BYTES) -> Iterator[Documents]:
    """Yield the texts of a .jsonl file, about `size` bytes at a time. field: the key of the text in each line.

    Raises: ValueError that names the line that is not a JSON object with this text.
    """
    number = 0
    rest = b""
    with open_stream(path) as file:
        while True:
            block = read_block(file, size, path)
            *lines, rest = (rest + block).split(b"\n")
            if not block and rest:
                lines, rest = [*lines, rest], b""
            found = []
            for line in lines:
                number += 1
                if line.strip():
                    found.append(_text(line, field, f"{path}: line {number}"))
            if lines:
                yield Documents(found, sum(map(len, lines)) + len(lines))
            if not block:
                return


def _text(line: bytes, field: str, where: str) -> str:
    try:
        found = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} must be a JSON object in UTF-8 ({error})") from None
    text = found.get(field) if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"{where} must be a JSON object with a text as {field!r}, got {line[:80].decode()!r}")
    return text
