"""Command line of bpe."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass
class Cite:
    """Print the paper that this package implements."""

    def __call__(self) -> None:
        """Print one line."""
        from bpe.paper import PAPER

        print(PAPER.citation())


def main() -> None:
    """Parse the command line and run it; bad input is one line on stderr and exit status 2."""
    import tyro

    command = tyro.extras.subcommand_cli_from_dict({"cite": Cite}, prog="bpe", description=__doc__)
    try:
        command()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
