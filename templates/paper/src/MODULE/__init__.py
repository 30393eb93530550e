"""{{TITLE}} ({{YEAR}}), arXiv:{{ARXIV}}."""

from {{MODULE}}.paper import PAPER, Paper

__all__ = ["PAPER", "Paper"]
