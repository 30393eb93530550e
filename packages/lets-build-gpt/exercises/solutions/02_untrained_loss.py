"""Solution of exercise 2: ln 65 = 4.17 for 65 characters, plus half of the variance of the logits."""

import math


def expected_loss(vocab_size: int, d_model: int) -> float:
    """A logit is a sum of d_model products of variance 0.02²."""
    return math.log(vocab_size) + 0.02**2 * d_model / 2


WRONG = [
    {"expected_loss": lambda vocab_size, d_model: math.log(vocab_size)},
    {"expected_loss": lambda vocab_size, d_model: math.log2(vocab_size)},
]
