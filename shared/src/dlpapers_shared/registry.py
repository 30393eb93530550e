"""The registry of datasets: address, size, sha256, license and citation of every file, read from `registry.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources


class DataError(ValueError):
    """Raised when a dataset cannot be found, downloaded, read or stored, or when its sha256 does not match.

    The message is one line and says how to fix it.
    """


@dataclass(frozen=True)
class Entry:
    """One registered file.

    bytes: the size, or None where only the sha256 is known. archive: the name of the zip that holds the file; `url` is
    then the address of the zip. repacked: the sha256 of the same content in another compressed file, also accepted.
    """

    name: str
    url: str
    sha256: str
    bytes: int | None
    license: str
    citation: str
    about: str
    archive: str | None = None
    repacked: str | None = None


def read_registry() -> dict[str, Entry]:
    """Return every registered file by name, members of zips included, in the order of `registry.toml`."""
    text = resources.files("dlpapers_shared").joinpath("registry.toml").read_text(encoding="utf-8")
    entries = {}
    for source in tomllib.loads(text)["source"]:
        for name, file in source.pop("files").items():
            members = file.pop("members", {})
            entries[name] = Entry(**{"name": name, "bytes": None} | source | file)
            for member, sha256 in members.items():
                entries[member] = Entry(member, file["url"], sha256, None, **source, archive=name)
    return entries
