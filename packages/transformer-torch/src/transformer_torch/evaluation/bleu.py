"""BLEU and chrF by sacreBLEU (1804.08771), with the signatures that make scores comparable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformer_torch.data.corpus import Corpus, read_lines
from transformer_torch.inference.translate import Translator


def score_lines(hypotheses: Sequence[str], references: Sequence[str]) -> list[str]:
    """Return BLEU and chrF of detokenized, cased lines, each with its signature.

    Raises: ValueError if there are no lines, or not as many references as hypotheses.
    """
    import sacrebleu

    if len(hypotheses) != len(references):
        raise ValueError(
            f"`hypothesis` must have as many lines as the reference, {len(references):,}, got {len(hypotheses):,}"
        )
    if not references:
        raise ValueError("`reference` must have at least one line, got none")
    metrics = (sacrebleu.BLEU(), sacrebleu.CHRF())
    found = [(m.corpus_score(list(hypotheses), [list(references)]), m.get_signature()) for m in metrics]
    return [f"{score}  {signature}" for score, signature in found]


def bleu_by_alpha(
    translator: Translator, corpus: Corpus, length_alphas: Sequence[float], beam_size: int = 4
) -> dict[float, float]:
    """Return the BLEU of a translator on a corpus for each exponent of the length norm."""
    import sacrebleu

    bleu = sacrebleu.BLEU()
    return {
        alpha: bleu.corpus_score(translator.translate(corpus.src, beam_size, alpha), [corpus.tgt]).score
        for alpha in length_alphas
    }


def score_files(hypothesis: Path, reference: Path) -> list[str]:
    """Return `score_lines` of two files; "-" is stdin."""
    return score_lines(read_lines(hypothesis), read_lines(reference))
