"""Command line of dlpapers-data: the data sets of the papers, fetched by name and checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional


def size(number: int | None) -> str:
    """A number of bytes as people read it: 1115394 is 1.1 MB; a number that is not known is a question mark.

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
    """Show what can be fetched; of names that are given, all that is known: address, licence, citation."""

    names: Positional[tuple[str, ...]] = ()
    """Names to tell everything about."""

    def __call__(self) -> None:
        """Print a table, or a paragraph for each name."""
        from dlpapers_shared import data

        for name in self.names:
            entry = data.entry(name)
            print(f"{name}\n  {entry.about}\n  licence   {entry.licence}\n  citation  {entry.citation}")
            print(f"  address   {entry.url}{f' (in the zip {entry.archive})' if entry.archive else ''}")
            print(f"  size      {size(entry.bytes)}\n  sha256    {entry.sha256}\n  here      {data.find(name) or 'no'}")
        if self.names:
            return
        width = max(map(len, data.registry()))
        print(f"{'name':{width}}  {'size':>8}  here  licence")
        for name, entry in data.registry().items():
            print(f"{name:{width}}  {size(entry.bytes):>8}  {'yes ' if data.find(name) else 'no  '}  {entry.licence}")


@dataclass
class Fetch:
    """Print the path of a file, which is downloaded if it is not here."""

    name: Positional[str]
    """A name as `list` shows it, for example text/tinyshakespeare.txt."""

    def __call__(self) -> None:
        """Print the path."""
        from dlpapers_shared import data

        print(data.fetch(self.name))


@dataclass
class Verify:
    """Compare every registered file that is here with its sha256; exit status 1 if one differs."""

    def __call__(self) -> None:
        """Print a line for each file that is here, and how many were right."""
        from dlpapers_shared import data

        right = wrong = 0
        for name, entry in data.registry().items():
            for folder in (data.data_dir(), data.cache_dir()):
                if folder is None or not (folder / name).is_file():
                    continue
                good = data.is_registered(folder / name, entry)
                right, wrong = right + good, wrong + (not good)
                print(f"{'ok   ' if good else 'WRONG'} {folder / name}")
        print(f"{right + wrong} files are here, {wrong} of them wrong")
        if wrong:
            sys.exit(1)


def main() -> None:
    """Parse the command line and run it; bad input is one line on stderr and exit status 2."""
    import tyro

    commands: dict[str, Callable[..., Any]] = {"list": List, "fetch": Fetch, "verify": Verify}
    command = tyro.extras.subcommand_cli_from_dict(commands, prog="dlpapers-data", description=__doc__)
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:  # `dlpapers-data list | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("error: interrupted; no part of the file was kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
