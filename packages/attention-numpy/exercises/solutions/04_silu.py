"""Solution of exercise 4: the parts in order, and backward in reverse order."""

import numpy as np
from attention_numpy import Linear, Module
from attention_numpy.activations import ACTIVATIONS, Elementwise


class SiLUFeedForward(Module):
    """FFN(x) = SiLU(x W_1 + b_1) W_2 + b_2."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.linear1 = Linear(d_model, d_ff, rng=rng, dtype=np.float64)
        self.silu = Elementwise(ACTIVATIONS["SiLU"])
        self.linear2 = Linear(d_ff, d_model, rng=rng, dtype=np.float64)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Apply the three parts."""
        return self.linear2.forward(self.silu.forward(self.linear1.forward(x)))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Undo the three parts in reverse order."""
        return self.linear1.backward(self.silu.backward(self.linear2.backward(dy)))


class _Skipped(SiLUFeedForward):
    def backward(self, dy: np.ndarray) -> np.ndarray:
        return self.linear1.backward(self.linear2.backward(dy))


class _GELU(SiLUFeedForward):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__(d_model, d_ff)
        self.silu = Elementwise(ACTIVATIONS["GELU"])


WRONG = [{"SiLUFeedForward": _Skipped}, {"SiLUFeedForward": _GELU}]
