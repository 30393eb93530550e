"""BLEU and chrF by sacreBLEU (1804.08771): the only numbers that others can compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformer_torch.corpus import read_lines


def score_lines(hypotheses: Sequence[str], references: Sequence[str]) -> list[str]:
    """BLEU and chrF of detokenised, cased lines, each with its signature."""
    import sacrebleu

    if len(hypotheses) != len(references):
        raise ValueError(f"hypothesis: {len(hypotheses):,} lines; the reference has {len(references):,}")
    if not references:
        raise ValueError("reference: empty")
    metrics = (sacrebleu.BLEU(), sacrebleu.CHRF())
    found = [(m.corpus_score(list(hypotheses), [list(references)]), m.get_signature()) for m in metrics]
    return [f"{score}  {signature}" for score, signature in found]


def scores(hypothesis: Path, reference: Path) -> list[str]:
    """The same of two files."""
    return score_lines(read_lines(hypothesis), read_lines(reference))
