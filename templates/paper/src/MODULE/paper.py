"""Which paper this package implements."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper: its title, the year it appeared, its arXiv number."""

    title: str
    year: int
    arxiv: str

    def citation(self) -> str:
        """One line that names the paper and where it is read."""
        return f"{self.title} ({self.year}). https://arxiv.org/abs/{self.arxiv}"


PAPER = Paper("{{TITLE}}", {{YEAR}}, "{{ARXIV}}")
