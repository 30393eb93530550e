"""All commands of `dlpapers-data`: list, fetch, verify."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tyro.conf import Positional

from dlpapers_shared._common.cli import run


def size(number: int | None) -> str:
    """Format a number of bytes; None, an unknown size, is a question mark.

    >>> size(1115394), size(401), size(None)
    ('1.1 MB', '401 B', '?')
    """
    if number is None:
        return "?"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number} B"


@dataclass
class List:
    """Show the files that can be fetched, or everything that is known about some of them.

    Example: dlpapers-data list text/tinyshakespeare.txt
    """

    names: Positional[tuple[str, ...]] = ()
    """Names, or folders such as mt, to describe in full. Without any, all names are listed."""

    def __call__(self) -> None:
        """Print a table, or a paragraph per name."""
        from dlpapers_shared import data

        for name in data.names(self.names):
            entry = data.entry(name)
            print(f"{name}\n  {entry.about}\n  license   {entry.license}\n  citation  {entry.citation}")
            print(f"  address   {entry.url}{f' (in the zip {entry.archive})' if entry.archive else ''}")
            print(f"  size      {size(entry.bytes)}\n  sha256    {entry.sha256}\n  here      {data.find(name) or 'no'}")
        if self.names:
            return
        width = max(map(len, data.registry()))
        print(f"{'name':{width}}  {'size':>8}  here  license")
        for name, entry in data.registry().items():
            print(f"{name:{width}}  {size(entry.bytes):>8}  {'yes ' if data.find(name) else 'no  '}  {entry.license}")


@dataclass
class Fetch:
    """Print the paths of files; those that are not on this machine are downloaded.

    Example: dlpapers-data fetch text/tinyshakespeare.txt mt
    """

    names: Positional[tuple[str, ...]] = ()
    """Names as `list` shows them, or folders such as mt. They are stored in $DLPAPERS_CACHE_DIR or the user's cache."""

    def __call__(self) -> None:
        """Print one path per line."""
        from dlpapers_shared import data

        if not self.names:
            raise ValueError("`names` must hold at least one name. `dlpapers-data list` shows them")
        try:
            for name in data.names(self.names):
                print(data.fetch(name), flush=True)
        except KeyboardInterrupt:
            message = "interrupted. Repeat the command to continue the download"
            raise KeyboardInterrupt(message) from None


@dataclass
class Verify:
    """Compare the files on this machine with their sha256; the exit status is 1 if one differs.

    Example: dlpapers-data verify text
    """

    names: Positional[tuple[str, ...]] = ()
    """Names, or folders such as mt, to verify. Without any, all files are verified."""

    def __call__(self) -> None:
        """Print one line per file and the number of wrong files."""
        from dlpapers_shared import data

        correct = wrong = 0
        for name in data.names(self.names or data.registry()):
            for folder in (data.data_dir(), data.cache_dir()):
                if folder is None or not (folder / name).is_file():
                    continue
                good = data.is_registered(folder / name, data.entry(name))
                correct, wrong = correct + good, wrong + (not good)
                print(f"{'ok   ' if good else 'WRONG'} {folder / name}")
        print(f"{correct + wrong} files are on this machine, {wrong} of them wrong")
        if wrong:
            sys.exit(1)


COMMANDS: dict[str, type] = {"list": List, "fetch": Fetch, "verify": Verify}


def main() -> None:
    """Run the command line."""
    run(COMMANDS, prog="dlpapers-data", description="Download datasets by name and check their sha256.")


if __name__ == "__main__":
    main()
