"""Solution of exercise 1: a sum of d_k products of variance 1, so larger heads would have a sharper softmax."""

import math


def std_of_scores(d_k: int, scaled: bool) -> float:
    """Variances add up: sqrt(d_k) without the division, 1 with it."""
    return 1.0 if scaled else math.sqrt(d_k)


WRONG = [
    {"std_of_scores": lambda d_k, scaled: 1.0 if scaled else float(d_k)},
    {"std_of_scores": lambda d_k, scaled: math.sqrt(d_k)},
]
