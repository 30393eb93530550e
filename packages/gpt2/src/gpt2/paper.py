"""The paper that this package implements."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """Title, year, and address of a paper (this one was never on arXiv)."""

    title: str
    year: int
    url: str

    def citation(self) -> str:
        """Return one line that cites the paper."""
        return f"{self.title} ({self.year}). {self.url}"


PAPER = Paper(
    "Language Models are Unsupervised Multitask Learners",
    2019,
    "https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf",
)
