"""Download one registered file: retried, continued after an interruption, and once for all processes that ask."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dlpapers_shared.registry import DataError, Entry

if TYPE_CHECKING:
    import requests

STALL_SECONDS = 30.0
"""Seconds without a byte after which an attempt fails."""

RETRY_SECONDS = (1.0, 4.0)
"""Pauses before the second and the third attempt, in seconds."""

TEMPORARY_STATUS = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status codes that another attempt may not meet."""

PARTIAL = ".partial"
"""Folder in the cache of files whose download has not finished; their names are sha256 values."""


def is_registered(path: Path, wanted: Entry) -> bool:
    """Return whether the file at `path` has the registered sha256. Raises: DataError if it cannot be read."""
    import pooch  # type: ignore[import-untyped]

    try:
        if wanted.bytes is not None and wanted.repacked is None and path.stat().st_size != wanted.bytes:
            return False  # no need to hash a large file of the wrong size
        return pooch.file_hash(str(path)) in (wanted.sha256, wanted.repacked)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def download(wanted: Entry, folder: Path, progress: bool) -> Path:
    """Return the path of a file below `folder`, downloaded unless another process has done so meanwhile.

    Raises: DataError for every failure. Bytes that were received before a broken connection or Ctrl-C are kept apart
    from the finished files, and the next call continues after them.
    """
    import pooch

    target = folder / wanted.name
    partial = folder / PARTIAL / wanted.sha256
    pooch.get_logger().setLevel("WARNING")  # by default it announces each download on stderr
    try:
        if target.is_dir():
            raise DataError(f"{wanted.name}: {target} is a folder. Remove it")
        with _locked(partial):
            if target.is_file() and is_registered(target, wanted):
                return target
            store = pooch.create(folder, "", registry={wanted.name: wanted.sha256}, urls={wanted.name: wanted.url})

            def receive(url: str, output_file: str, _: pooch.Pooch) -> None:
                _receive_all(wanted, url, partial, target, None if progress else True)
                os.replace(partial, output_file)

            return Path(store.fetch(wanted.name, downloader=receive))
    except OSError as error:
        raise DataError(f"{wanted.name}: cannot be stored in {folder} ({error})") from error
    finally:
        with suppress(OSError):
            partial.parent.rmdir()  # fails while other downloads are unfinished


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time write to a file, which is created, and removed if it stays empty.

    On Windows there is no lock: do not fetch one file from several processes.
    """
    if sys.platform == "win32":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        try:
            yield
        finally:
            _remove_empty(path)
        return
    import fcntl

    failures = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except (FileExistsError, FileNotFoundError):  # another process has just removed the empty folder: make it again
            failures += 1
            if failures == 100 or (path.parent.exists() and not path.parent.is_dir()):
                raise
            continue
        with suppress(OSError):  # a network file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()  # the process that had the lock has moved or removed the file: open the new one
    with file:
        try:
            yield
        finally:
            _remove_empty(path)


def _remove_empty(path: Path) -> None:
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def _receive_all(wanted: Entry, url: str, partial: Path, target: Path, hidden: bool | None) -> None:
    """Complete the partial file in several attempts; it then has the registered sha256. Raises: DataError."""
    import requests

    by_hand = f"Try again later, or save the file as {target}"
    pauses = iter(RETRY_SECONDS)
    while True:
        before = partial.stat().st_size
        try:
            _receive(wanted, url, partial, hidden)
        except requests.RequestException as error:
            if partial.stat().st_size > before:  # count only the attempts since the last progress
                pauses = iter(RETRY_SECONDS)
            if _is_temporary(error) and (pause := next(pauses, None)) is not None:
                time.sleep(pause)
                continue
            raise DataError(f"{wanted.name}: {_reason(error, url)}. {by_hand}") from error
        size = partial.stat().st_size
        if is_registered(partial, wanted):
            return
        os.truncate(partial, 0)
        if before > 0:  # the bytes of an earlier attempt may have been the wrong ones
            continue
        if wanted.bytes is not None and size != wanted.bytes:
            raise DataError(f"{wanted.name}: {url} sent {size:,} bytes, expected {wanted.bytes:,}. {by_hand}")
        raise DataError(f"{wanted.name}: the sha256 of what {url} sent is not the registered one. {by_hand}")


def _receive(wanted: Entry, url: str, partial: Path, hidden: bool | None) -> None:
    """Append to the partial file what it lacks. Raises: requests.RequestException."""
    import requests
    from tqdm import tqdm

    start = partial.stat().st_size
    if wanted.bytes is not None and start >= wanted.bytes:
        os.truncate(partial, start := 0)
    # identity: the registered bytes themselves, not a compressed form that the server may prefer to send
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, timeout=STALL_SECONDS, stream=True) as response:
        refused = start > 0 and response.status_code == 416
        if not refused:
            response.raise_for_status()
        content_range = response.headers.get("Content-Range", "")
        if start and not (response.status_code == 206 and content_range.startswith(f"bytes {start}-")):
            os.truncate(partial, start := 0)  # the server sends the whole file
        if refused:
            raise requests.ConnectionError("the server does not continue the download")
        with (
            partial.open("ab") as file,
            tqdm(desc=wanted.name, initial=start, total=wanted.bytes, unit="B", unit_scale=True, disable=hidden) as bar,
        ):
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))


def _is_temporary(error: requests.RequestException) -> bool:
    """Return whether another attempt may succeed."""
    import requests

    if error.response is not None and isinstance(error, requests.HTTPError):
        return error.response.status_code in TEMPORARY_STATUS
    permanent = (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.TooManyRedirects)
    return not isinstance(error, permanent)


def _reason(error: requests.RequestException, url: str) -> str:
    """Describe a failed request in one clause."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"the server answered {error}"
    cause: BaseException = error
    while cause.__context__ is not None:  # requests and urllib3 wrap the original error several times
        cause = cause.__context__
    if isinstance(cause, TimeoutError):
        return f"{url} sent nothing for {STALL_SECONDS:g} s"
    return f"{url} could not be read ({' '.join(str(cause).split())})"
