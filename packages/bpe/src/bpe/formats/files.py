"""Reading and writing files: one clear error for a damaged one, never a half-written one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bpe.errors import FormatError


def read_text(path: Path) -> str:
    """A UTF-8 file; FormatError with the place of what is not UTF-8."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: byte {error.start} is not UTF-8") from None


def read_json(path: Path) -> Any:
    """A JSON file in which no object names a key twice; FormatError for anything else."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise FormatError(f"{path}: {twice!r} is there twice")
        return found

    try:
        return json.loads(read_text(path), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}: not JSON: {error}") from None
    except RecursionError:
        raise FormatError(f"{path}: JSON that is nested too deeply") from None


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its name only when all of it is there; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        mask = os.umask(0)  # mkstemp lets only the owner read; a new file is as readable as the user's others
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 file whole or not at all."""
    with atomic(path) as file:
        file.write(text.encode())
    return path


def write_json(path: Path, value: Any, indent: int | None = None) -> Path:
    """Write a JSON file whole or not at all."""
    return write_text(path, json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
