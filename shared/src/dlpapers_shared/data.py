"""Datasets by name: `fetch` returns the path of a file, from this machine or downloaded once.

A name is looked up in the folder `$DLPAPERS_DATA_DIR`, then in the cache, then downloaded into the cache. Every file
that is returned has the registered sha256.

    path = fetch("text/tinyshakespeare.txt")
    train, validation = split(read_text("text/tinyshakespeare.txt"), 0.9)
"""

from __future__ import annotations

import difflib
import gzip
import os
import zipfile
import zlib
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from dlpapers_shared._common.atomic import atomic_write
from dlpapers_shared._common.errors import check_fraction
from dlpapers_shared.download import download, is_registered
from dlpapers_shared.registry import DataError, Entry, read_registry

__all__ = ["DataError", "Entry", "cache_dir", "data_dir", "entry", "fetch", "find", "is_registered", "names",
           "read_text", "registry", "split"]  # fmt: skip

Text = TypeVar("Text", str, bytes, list[Any])


@cache
def registry() -> dict[str, Entry]:
    """Return every registered file by its name."""
    return read_registry()


def entry(name: str) -> Entry:
    """Return what is registered under a name. Raises: DataError with the nearest name if nothing is."""
    known = registry()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else "`dlpapers-data list` shows them"
        raise DataError(f"`name` must be in the registry, got {name!r}. {hint}")
    return known[name]


def names(selection: Iterable[str]) -> list[str]:
    """Return the registered names of a selection: names, and folders such as "mt", which stand for all files in them.

    Raises: DataError for what is neither.
    """
    chosen: dict[str, None] = {}
    for name in selection:
        inside = [known for known in registry() if known.startswith(f"{name.rstrip('/')}/")]
        chosen.update(dict.fromkeys(inside or [entry(name).name]))
    return list(chosen)


def data_dir() -> Path | None:
    """Return the folder `$DLPAPERS_DATA_DIR`, which is searched first and never written to, or None if it is unset.

    Raises: DataError if the variable does not name a folder.
    """
    value = os.environ.get("DLPAPERS_DATA_DIR")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(f"`DLPAPERS_DATA_DIR` must be a folder, got {value!r}. Correct it or unset it")
    return folder


def cache_dir() -> Path:
    """Return the folder of downloads: `$DLPAPERS_CACHE_DIR`, or `dlpapers` in the user's cache."""
    import pooch  # type: ignore[import-untyped]

    value = os.environ.get("DLPAPERS_CACHE_DIR")
    return Path(value).expanduser() if value else Path(pooch.os_cache("dlpapers"))


def find(name: str) -> Path | None:
    """Return the path of a file in `data_dir()` or else in `cache_dir()`, without a check of its content, or None."""
    wanted = entry(name).name
    folders = [folder for folder in (data_dir(), cache_dir()) if folder is not None]
    return next((folder / wanted for folder in folders if (folder / wanted).is_file()), None)


def fetch(name: str, progress: bool = True) -> Path:
    """Return the path of a registered file, which is downloaded if it is not on this machine.

    progress: show a progress bar on a terminal. A download that fails is retried, continues where it stopped, and
    is made once if several processes ask for the same file. A corrupt file in the cache is downloaded again.
    Raises: DataError for an unknown name, for a file in `$DLPAPERS_DATA_DIR` that is not the registered one, and for
    every failure to download or to store it. The cache never holds an incomplete file under its name.
    """
    wanted = entry(name)
    found = find(name)
    if found is not None and is_registered(found, wanted):
        return found
    target = cache_dir() / name
    if found is not None and found != target:
        raise DataError(f"{found}: its sha256 is not the registered one. Delete it or unset DLPAPERS_DATA_DIR")
    if wanted.archive is not None:
        return _extract(wanted, fetch(wanted.archive, progress), target)
    return download(wanted, cache_dir(), progress)


def read_text(name: str) -> str:
    r"""Return the whole text of a registered file, with line ends as they are; `.gz` files are decompressed.

    Raises: DataError as `fetch` does, and for a file that is not UTF-8 or not a complete gzip file.
    """
    path = fetch(name)
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 (byte {error.start}). Open fetch({name!r}) as bytes") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def split(text: Text, fraction: float) -> tuple[Text, Text]:
    """Split a text or a list: the first `fraction` of its characters or items, rounded down, and the rest.

    >>> split("0123456789", 0.9)
    ('012345678', '9')
    """
    check_fraction("fraction", fraction, zero=False)
    first = int(len(text) * Fraction(str(fraction)))  # 0.29 of 100 is 29; in floating point it would be 28
    return text[:first], text[first:]


def _extract(wanted: Entry, archive: Path, target: Path) -> Path:
    """Extract one member of a zip into the cache."""
    try:
        with zipfile.ZipFile(archive) as opened:
            inside = [name for name in opened.namelist() if Path(name).name == target.name]
            if len(inside) != 1:
                raise DataError(f"{wanted.name}: {archive} has {len(inside)} files of that name, expected 1")
            content = opened.read(inside[0])
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{wanted.name}: {archive} cannot be read ({error})") from error
    try:
        with atomic_write(target) as temporary:
            temporary.write_bytes(content)
            if not is_registered(temporary, wanted):
                raise DataError(f"{wanted.name}: the sha256 of the file in {archive} is not the registered one")
    except OSError as error:
        raise DataError(f"{wanted.name}: cannot be stored in {cache_dir()} ({error})") from error
    return target
