"""Exercise 4: how sharply does a head attend?

Measure it by the entropy of its weights: 0 for a head that attends to one position, ln n for one that attends to n
positions evenly. Then compare `decoder.0.cross_attn` with the last layer of a model trained on the dates: in the first
layer, the query knows the earlier tokens only by their embeddings, so it cannot know yet where to attend.

Fill in `entropy`, then run this file.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(weights: Tensor) -> Tensor:
    """Return the entropy in nats, (batch, heads), a mean over queries; weights (batch, heads, queries, keys)."""
    raise NotImplementedError("exercise 4: entropy")


def check() -> None:
    """Raise AssertionError unless the entropies of known weights are correct; 0 log 0 is 0."""
    one, evenly = torch.eye(4)[None, None], torch.full((1, 1, 4, 4), 0.25)
    halves = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).expand(1, 1, 4, 4)
    for name, weights, right in (
        ("one position", one, 0.0),
        ("4 positions evenly", evenly, math.log(4)),
        ("two", halves, math.log(2)),
    ):
        found = entropy(weights.clone())
        assert found.shape == (1, 1), f"the result has shape {tuple(found.shape)}, must have (batch, heads) = (1, 1)"
        assert abs(float(found) - right) < 1e-5, (
            f"a head that attends to {name} has entropy {right:.4f}, got {float(found):.4f}"
        )
    several = torch.cat([one, evenly, halves], 1)
    assert torch.allclose(entropy(several), torch.tensor([[0.0, math.log(4), math.log(2)]]), atol=1e-5), (
        "heads are mixed up"
    )


if __name__ == "__main__":
    check()
    print("exercise 4: correct")
