"""The paper that this package implements."""
# Replace: nothing. `nox -s new` wrote this file.

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper: title, year, and the address where it can be read."""

    title: str
    year: int
    url: str | None = None

    def citation(self) -> str:
        """Return title, year and address on one line.

        >>> Paper("A Paper", 2017, "https://arxiv.org/abs/1706.03762").citation()
        'A Paper (2017). https://arxiv.org/abs/1706.03762'
        """
        return f"{self.title} ({self.year})." + (f" {self.url}" if self.url else "")


PAPER = Paper(
    title=TITLE,
    year=YEAR,
    url=URL,
)
