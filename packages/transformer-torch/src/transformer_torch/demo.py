"""The demo: learn to read dates in one to two CPU-minutes, and test on held-out days."""

from __future__ import annotations

from transformer_torch.data.dates import date_corpus
from transformer_torch.inference.translate import Translator

EXAMPLE = "Donnerstag, 14. März 2024"
N_TESTED = 500


def score_on_held_out_days(translator: Translator) -> tuple[list[tuple[str, str]], int]:
    """Return source and output of every tested date, and how many are exactly right."""
    test = date_corpus(N_TESTED, seed=1, held_out=True)
    found = translator.translate(test.src, beam_size=1)
    exact = sum(output == reference for output, reference in zip(found, test.tgt, strict=True))
    return list(zip(test.src, found, strict=True)), exact
