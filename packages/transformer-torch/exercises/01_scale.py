"""Exercise 1: why are the scores divided by sqrt(d_k)?

If the elements of q and k are independent, of mean 0 and variance 1, what is the standard deviation of their dot
product, and of the scaled score? Then remove the division from `scaled_dot_product_attention`, and run
`tests/test_parity.py`.

Fill in `std_of_scores`, then run this file.
"""

from __future__ import annotations

import math

import torch


def std_of_scores(d_k: int, scaled: bool) -> float:
    """Return the standard deviation of q·k, or of q·k / sqrt(d_k) if `scaled`."""
    raise NotImplementedError("exercise 1: std_of_scores")


def check() -> None:
    """Raise AssertionError unless the prediction is within 3 % of the standard deviation of 20,000 samples."""
    generator = torch.Generator().manual_seed(0)
    for d_k in (1, 4, 64):
        scores = (torch.randn(20_000, d_k, generator=generator) * torch.randn(20_000, d_k, generator=generator)).sum(-1)
        for scaled in (False, True):
            sampled = float((scores / math.sqrt(d_k) if scaled else scores).std())
            found = float(std_of_scores(d_k, scaled))
            what = "scaled scores" if scaled else "dot products"
            assert abs(found / sampled - 1) < 0.03, (
                f"d_k {d_k}: {what} have std {sampled:.2f}, but you return {found:.2f}"
            )


if __name__ == "__main__":
    check()
    print("exercise 1: correct")
