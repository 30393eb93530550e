"""Exercise 4: a feed-forward layer with SiLU.

Write FFN(x) = SiLU(x W_1 + b_1) W_2 + b_2, forward and backward, from the layers of this package.
`activations.Elementwise` applies an activation function; unlike ReLU it has no argument `out`.

Fill in `SiLUFeedForward`, then run this file.
"""

from __future__ import annotations

import numpy as np
from attention_numpy import Linear, Module
from attention_numpy.activations import ACTIVATIONS
from attention_numpy.gradcheck import check_layer


class SiLUFeedForward(Module):
    """Map (batch, time, d_model) to the same shape. The parts: `linear1`, an activation, `linear2`."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.linear1 = Linear(d_model, d_ff, rng=rng, dtype=np.float64)
        self.linear2 = Linear(d_ff, d_model, rng=rng, dtype=np.float64)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return SiLU(x W_1 + b_1) W_2 + b_2."""
        raise NotImplementedError("exercise 4: SiLUFeedForward.forward")

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Map the gradient of the output to that of x."""
        raise NotImplementedError("exercise 4: SiLUFeedForward.backward")


def check() -> None:
    """Raise AssertionError unless the output is that of the formula and every gradient equals finite differences."""
    layer, x = SiLUFeedForward(4, 6), np.random.default_rng(1).normal(size=(2, 3, 4))
    layer.linear1.bias.data[...] = np.linspace(-1, 1, 6)
    h = x @ layer.linear1.weight.data.T if layer.linear1.weight.data.shape == (6, 4) else x @ layer.linear1.weight.data
    h = ACTIVATIONS["SiLU"].value(h + layer.linear1.bias.data)
    w = layer.linear2.weight.data
    right = h @ (w.T if w.shape == (4, 6) else w) + layer.linear2.bias.data
    y = layer.forward(x)
    assert y.shape == right.shape, f"the output has shape {y.shape}, must have {right.shape}"
    assert np.allclose(y, right), "the output differs from SiLU(x W_1 + b_1) W_2 + b_2"
    layer.clear_saved()
    rows = check_layer(layer, x)
    assert len(rows) == 5, f"{len(rows)} gradients are computed, must be 5: two weights, two biases, x"
    for row in rows:
        assert row.error < 1e-6, f"the gradient of {row.name} is wrong: {row.analytic:.4f} instead of {row.numeric:.4f}"


if __name__ == "__main__":
    check()
    print("exercise 4: correct")
