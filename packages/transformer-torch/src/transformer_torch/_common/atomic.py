# Vendored: edit shared/vendored/atomic.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Atomic writes: a file is either the complete new one or the previous one."""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; when the block ends without an error, its file takes the place of `path`.

    After an error, Ctrl-C included, the temporary file is removed and `path` stays as it was. Missing parent folders
    are made. A symbolic link is followed. A new file gets the mode that the umask allows (0644 as a rule); an existing
    one keeps its mode. A device or a pipe (/dev/stdout) is written through, never replaced.
    Raises: OSError that names `path`, if it is a directory or cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if mode is not None and not stat.S_ISREG(mode):
        try:
            with _written_through(target) as temporary:
                yield temporary
        except OSError as error:
            raise _naming(error, path) from error
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.chmod(temporary, _new_file_mode() if mode is None else stat.S_IMODE(mode))
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise _naming(error, path, temporary) from error
    except Exception as error:
        if type(error).__name__ == "SafetensorError":  # the library reports a full disk with a type of its own
            raise OSError(f"{path}: cannot be written ({error})") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _written_through(target: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "content"
        yield temporary
        with temporary.open("rb") as source, target.open("wb") as sink:
            while chunk := source.read(1 << 20):
                sink.write(chunk)


def _new_file_mode() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _naming(error: OSError, path: str | os.PathLike[str], temporary: Path | None = None) -> OSError:
    """The same error, about the file that the caller knows: the system names none, or the temporary one."""
    if error.errno is None or error.filename not in (None, str(temporary)):
        return error
    return type(error)(error.errno, error.strerror, str(path))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a binary file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file atomically, with line ends as they are in `text`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a JSON file atomically. Raises: ValueError if `value` holds NaN or infinity, which JSON does not have."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: {_not_finite(value) or 'the value'} cannot be stored in JSON ({error})") from None
    write_text(path, text + "\n")


def _not_finite(value: Any, where: str = "") -> str:
    """Name the first NaN or infinity inside a JSON value: `train.lr`."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"`{where}` = {value}"
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in children:
        if found := _not_finite(child, f"{where}.{key}" if where else str(key)):
            return found
    return ""


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. Raises: ValueError that names the file if it is missing, not UTF-8, not JSON, or not finite."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path}: not found") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start})") from None
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a valid JSON file ({error})") from None


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file that holds an object. Raises: ValueError that names the file if it holds anything else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must hold a JSON object, got {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice")
    return found


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a UTF-8 text file: a byte-order mark is dropped, line ends \r\n and \r become \n.

    Raises: ValueError that names the file and the first byte that is not UTF-8.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}). Convert it to UTF-8 first") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
