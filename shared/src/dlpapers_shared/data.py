"""Data sets by name: on this machine if they are here, else from where they are published.

`registry.toml` says of every name where it is published, its size and sha256, its licence and whom to cite.
A name is looked for in the folder `$DLPAPERS_DATA_DIR`, then in the user's cache, then downloaded into the
cache. Whatever is returned has the registered sha256.

    path = fetch("text/tinyshakespeare.txt")
    train, validation = split(read_text("text/tinyshakespeare.txt"), 0.9)
"""

from __future__ import annotations

import difflib
import gzip
import os
import tomllib
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dlpapers_shared.files import replacing

if TYPE_CHECKING:
    import pooch  # type: ignore[import-untyped]

STALL = 30.0
"""Seconds without a byte after which a download is given up."""

Text = TypeVar("Text", str, bytes, list[Any])


class DataError(ValueError):
    """A file that cannot be had, or is not what is registered. The message is one line and says what to do."""


@dataclass(frozen=True)
class Entry:
    """What the registry says of one file. `bytes` is None where only its sha256 is known.

    `archive` is the name of the zip that holds the file; `url` is then the zip's.
    """

    name: str
    url: str
    sha256: str
    bytes: int | None
    licence: str
    citation: str
    about: str
    archive: str | None = None


@cache
def registry() -> dict[str, Entry]:
    """Every registered file by its name, members of zips too, in the order of `registry.toml`."""
    text = resources.files("dlpapers_shared").joinpath("registry.toml").read_text(encoding="utf-8")
    entries = {}
    for source in tomllib.loads(text)["source"]:
        for name, file in source.pop("files").items():
            members = file.pop("members", {})
            entries[name] = Entry(**{"name": name, "bytes": None} | source | file)
            for member, sha256 in members.items():
                entries[member] = Entry(member, file["url"], sha256, None, **source, archive=name)
    return entries


def entry(name: str) -> Entry:
    """What is registered under a name; DataError with the nearest name if nothing is."""
    known = registry()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else "`dlpapers-data list` shows what is"
        raise DataError(f"name: {name!r} is not in the registry; {hint}")
    return known[name]


def data_dir() -> Path | None:
    """The folder in `$DLPAPERS_DATA_DIR`, which is looked at first and never written to; None when unset."""
    folder = os.environ.get("DLPAPERS_DATA_DIR")
    return Path(folder).expanduser() if folder else None


def cache_dir() -> Path:
    """The folder of the user's cache that downloads go to."""
    import pooch

    return Path(pooch.os_cache("dlpapers"))


def find(name: str) -> Path | None:
    """Where the file already is, unchecked: in `data_dir()`, else in `cache_dir()`; None if in neither."""
    wanted = entry(name).name
    folders = [folder for folder in (data_dir(), cache_dir()) if folder is not None]
    return next((folder / wanted for folder in folders if (folder / wanted).is_file()), None)


def fetch(name: str, progress: bool = True) -> Path:
    """The path of a registered file, downloaded if it is not on this machine (with a progress bar on a terminal).

    DataError: an unknown name; a file in `$DLPAPERS_DATA_DIR` that is not the registered one; a dead link; a
    download that stalls, breaks off or has another sha256. The cache then holds no part of it. A file in the
    cache that was spoilt is fetched again.
    """
    wanted = entry(name)
    found = find(name)
    if found is not None and is_registered(found, wanted):
        return found
    if found is not None and found != cache_dir() / name:
        raise DataError(
            f"{found} is not the registered {name}: its sha256 differs; delete it or unset DLPAPERS_DATA_DIR"
        )
    if wanted.archive is not None:
        return _extract(wanted, fetch(wanted.archive, progress))
    return _download(wanted, progress)


def is_registered(path: Path, wanted: Entry) -> bool:
    """Whether the file at `path` has the size and the sha256 of the registry."""
    import pooch

    if wanted.bytes is not None and path.stat().st_size != wanted.bytes:
        return False  # spares the hash of a half of something large
    return bool(pooch.file_hash(str(path)) == wanted.sha256)


def read_text(name: str) -> str:
    """The whole text of a registered file, line breaks as they are; what ends in .gz is unpacked.

    DataError for what is not UTF-8, and as `fetch`.
    """
    raw = fetch(name).read_bytes()
    try:
        return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text ({error}); open fetch({name!r}) as bytes") from error


def split(text: Text, fraction: float) -> tuple[Text, Text]:
    """The first `fraction` of a text (of its characters) or list, rounded down, and the rest.

    >>> split("0123456789", 0.9)
    ('012345678', '9')
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: {fraction} does not lie between 0 and 1")
    first = int(len(text) * Fraction(str(fraction)))  # 0.29 of 100 is 29; in floating point it would be 28
    return text[:first], text[first:]


def _store() -> pooch.Pooch:
    """The registry as pooch keeps it: it checks hashes, writes to temporary names and removes what failed."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # it would announce each download on stderr
    files = {name: found for name, found in registry().items() if found.archive is None}
    return pooch.create(
        path=cache_dir(),
        base_url="",
        registry={name: found.sha256 for name, found in files.items()},
        urls={name: found.url for name, found in files.items()},
    )


def _download(wanted: Entry, progress: bool) -> Path:
    """Download one file into the cache; every failure becomes one DataError that says what can be done."""
    import requests
    from tqdm import tqdm

    # the registered bytes themselves, not a compressed form that the server may prefer to send
    headers = {"Accept-Encoding": "identity"}
    hidden = None if progress else True  # None: a bar on a terminal only
    otherwise = f"nothing was kept; try again later, or save the file by hand as {cache_dir() / wanted.name}"

    def receive(url: str, output_file: str, store: pooch.Pooch) -> None:
        with (
            requests.get(url, headers=headers, timeout=STALL, stream=True) as response,
            open(output_file, "wb") as file,
            tqdm(desc=wanted.name, total=wanted.bytes, unit="B", unit_scale=True, disable=hidden) as bar,
        ):
            response.raise_for_status()
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
        size = Path(output_file).stat().st_size
        if wanted.bytes is not None and size != wanted.bytes:
            raise DataError(f"{wanted.name}: {url} sent {size:,} bytes of {wanted.bytes:,}; {otherwise}")
        if not is_registered(Path(output_file), wanted):
            raise DataError(f"{wanted.name}: what {url} sent has not the registered sha256; {otherwise}")

    try:
        return Path(_store().fetch(wanted.name, downloader=receive))
    except requests.HTTPError as error:
        raise DataError(f"{wanted.name}: the server answered {error}; {otherwise}") from error
    except requests.RequestException as error:
        cause: BaseException = error
        while cause.__context__ is not None:  # requests and urllib3 wrap what happened several times over
            cause = cause.__context__
        what = f"sent nothing for {STALL:g} s" if isinstance(cause, TimeoutError) else f"could not be read: {cause}"
        raise DataError(f"{wanted.name}: {wanted.url} {what}; {otherwise}") from error
    except OSError as error:
        raise DataError(f"{wanted.name}: cannot be kept in {cache_dir()}: {error}") from error


def _extract(wanted: Entry, archive: Path) -> Path:
    """Take one member out of a zip into the cache."""
    target = cache_dir() / wanted.name
    with zipfile.ZipFile(archive) as held:
        inside = [name for name in held.namelist() if Path(name).name == target.name]
        if len(inside) != 1:
            raise DataError(f"{wanted.name}: {archive} holds {len(inside)} files of that name")
        with replacing(target) as temporary:
            temporary.write_bytes(held.read(inside[0]))
            if not is_registered(temporary, wanted):
                raise DataError(f"{wanted.name}: what {archive} holds has not the registered sha256; nothing was kept")
    return target
