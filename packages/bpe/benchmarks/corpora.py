"""The texts of the benchmarks: code, prose and many languages, cut into slices that do not overlap.

    mkdir corpora && cd corpora
    apt-get download dict-gcide dict-wn dict-foldoc dict-jargon manpages-ja manpages-ja-dev manpages-zh manpages-ru \
        manpages-uk manpages-de manpages-fr manpages-es manpages-it manpages-pl manpages-pt-br
    for package in *.deb; do dpkg -x "$package" .; done

Or install the packages; the folder is then `/`. Code needs no download: it is the standard library and the packages
that are installed for this interpreter.
"""

from __future__ import annotations

import gzip
import random
import sysconfig
from collections.abc import Iterable
from pathlib import Path

SLICE = 4_000_000  # bytes


def _texts(paths: Iterable[Path]) -> Iterable[str]:
    """Yield the files that are UTF-8, each once; `.gz` and `.dz` (dictzip, which is gzip) are decompressed."""
    seen = set()
    for path in paths:
        data = gzip.decompress(path.read_bytes()) if path.suffix in {".gz", ".dz"} else path.read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if text not in seen:
            seen.add(text)
            yield text


def _shuffled(paths: Iterable[Path]) -> list[Path]:
    """Return the files in a random order that is always the same."""
    ordered = sorted(path for path in paths if path.is_file() and not path.is_symlink())
    random.Random(0).shuffle(ordered)
    return ordered


def code(_: Path) -> Iterable[str]:
    """Yield Python sources: those of the standard library and of the installed packages."""
    roots = {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return _texts(_shuffled(path for root in roots for path in Path(root).rglob("*.py")))


def prose(folder: Path) -> Iterable[str]:
    """Yield dictionaries and encyclopedias in English, with many rare words."""
    return _texts(folder / f"usr/share/dictd/{name}.dict.dz" for name in ("gcide", "wn", "foldoc", "jargon"))


def multilingual(folder: Path) -> Iterable[str]:
    """Yield manual pages in ten languages, in random order."""
    languages = ("ja", "zh_CN", "zh_TW", "ru", "uk", "de", "fr", "es", "it", "pl", "pt_BR")
    return _texts(_shuffled(p for name in languages for p in (folder / "usr/share/man" / name).rglob("*.gz")))


KINDS = {"code": code, "prose": prose, "multilingual": multilingual}


def slices(kind: str, folder: Path, count: int, size: int = SLICE) -> list[str]:
    """Return `count` texts of `size` bytes, spread evenly over the corpus, that do not overlap."""
    data = "".join(KINDS[kind](folder)).encode("utf-8")
    if len(data) < count * size:
        raise SystemExit(f"{kind}: {len(data):,} bytes in {folder}, fewer than {count} slices of {size:,}")
    step = len(data) // count
    return [data[k * step : k * step + size].decode("utf-8", "ignore") for k in range(count)]
