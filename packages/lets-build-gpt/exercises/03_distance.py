"""Exercise 3: how far back does a head attend?

`model(ids, return_intermediates=True)` returns the attention weights. Compute for each head the mean distance between a
query and what it attends to, weighted by the attention: 0 for a head that attends to the token itself, 1 for the token
before. Then try it on a trained model, and plot the heads with `plots.plot_attention`.

Fill in `mean_distance`, then run this file.
"""

from __future__ import annotations

import torch
from lets_build_gpt import Model
from torch import Tensor


def mean_distance(attn: Tensor) -> Tensor:
    """Return (layers, heads), a mean over batch and queries, from weights (layers, batch, heads, queries, keys)."""
    raise NotImplementedError("exercise 3: mean_distance")


def check() -> None:
    """Raise AssertionError unless the distances of heads with known weights are correct."""
    n = 6
    itself = torch.eye(n)
    before = torch.zeros(n, n)
    before[range(n), [0, *range(n - 1)]] = 1
    evenly = torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None]
    for name, weights, right in (
        ("itself", itself, 0),
        ("the token before", before, 5 / 6),
        ("all evenly", evenly, 1.25),
    ):
        found = mean_distance(weights.expand(2, 3, 4, n, n))
        assert found.shape == (2, 4), f"the result has shape {tuple(found.shape)}, must have (layers, heads) = (2, 4)"
        wrong = float(found[0, 0])
        assert abs(wrong - right) < 1e-5, (
            f"a head that attends to {name} has the mean distance {right:.3f}, got {wrong:.3f}"
        )
    mixed = torch.stack([torch.stack([itself, before]), torch.stack([evenly, itself])])[:, None]
    assert torch.allclose(mean_distance(mixed), torch.tensor([[0, 5 / 6], [1.25, 0]])), "layers or heads are mixed up"
    _, intermediates = Model(context_length=8, d_model=16, h=2, n_layers=2, n_vocab=9).eval()(
        torch.arange(8)[None], return_intermediates=True
    )
    assert mean_distance(intermediates.attn).shape == (2, 2)


if __name__ == "__main__":
    check()
    print("exercise 3: correct")
