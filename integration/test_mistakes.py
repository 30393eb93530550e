"""The checks of learners' code and the mutants of the packages use the same words for the same mistake."""

from pathlib import Path

from dlpapers_shared.check.reference import attention, block, bpe, loss, transformer
from dlpapers_shared.check.subjects import adam, positions, sampling, schedule

ROOT = Path(__file__).parent.parent


def test_the_same_mistake_has_the_same_words_as_in_the_packages():
    """`tests/mutants.py` of the packages name these mistakes; a learner meets the same words in both."""
    named = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("packages/*/tests/mutants.py"))
    tables = [attention.MISTAKES, attention.BACKWARD_MISTAKES, transformer.MULTI_HEAD_MISTAKES, block.BLOCK_MISTAKES]
    tables += [
        transformer.LAYER_NORM_MISTAKES,
        transformer.LAYER_NORM_BACKWARD,
        loss.SOFTMAX_BACKWARD,
        loss.SMOOTHING_MISTAKES,
    ]
    tables += [adam.MISTAKES, bpe.ENCODER_MISTAKES, bpe.TRAINER_MISTAKES, positions.MISTAKES, sampling.TOP_K_MISTAKES]
    tables += [schedule.MISTAKES, loss.GRADIENT_MISTAKES, sampling.TEMPERATURE_MISTAKES]
    sentences = " ".join(mistake.sentence for table in tables for mistake in table)
    shared = [
        "only the diagonal of the softmax Jacobian",
        "no maximum subtracted before exp",
        "no scaling by 1 / sqrt(d_k)",
        "scaling by d_model instead of d_k",
        "scale forgotten on the way back",
        "heads split by reshape alone",
        "heads concatenated across tokens",
        "softmax over the wrong axis",
        "inverted mask",
        "mask shifted",
        "Bessel's correction",
        "no eps in LayerNorm",
        "mean's path forgotten in LayerNorm's gradient",
        "gamma outside the sums of LayerNorm's gradient",
        "dgamma without x_hat",
        "post-norm and pre-norm confused",
        "the residual added after the norm",
        "no residual connection around the feed-forward layer",
        "base of the positional encoding",
        "no cosines",
        "cosine where sine belongs",
        "frequencies by i instead of 2i",
        "smoothed target counts fully in the gradient",
        "the target class lacks its part of the smoothing",
        "bias correction with the wrong t",
        "no bias correction of the second moment",
        "eps inside the bias correction",
        "warm-up exponent",
        "the schedule lags by a step",
        "of equal pairs the rightmost is merged first",
        "ties by ids: the largest instead of the smallest",
        "ties by bytes: a prefix counts as greater",
        "top-k drops the k-th",
        "multiplies by the temperature",
    ]
    assert [words for words in shared if words not in sentences] == []
    assert [words for words in shared if words not in named] == []
