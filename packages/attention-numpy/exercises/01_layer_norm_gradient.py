"""Exercise 1: which gradients survive a mistake in LayerNorm?

Somebody deletes the line `dx -= np.multiply(x_hat, mean_gx[:, None], out=product)` from the backward pass of LayerNorm.
Which gradients of a post-norm Transformer does the gradient check still report as correct? Think of the order in which
the backward pass visits the layers, and of what the mistake changes: dx, but neither dgamma nor dbeta.

Fill in `still_correct`, then run this file.
"""

from __future__ import annotations

import numpy as np
from attention_numpy import LayerNorm
from attention_numpy.gradcheck import check_model


def still_correct(names: list[str], last_norm: str) -> set[str]:
    """Return the names of the parameters whose gradients are still correct.

    names: all parameters, such as "generator.weight". last_norm: the start of the names of the norm that is nearest to
    the output.
    """
    raise NotImplementedError("exercise 1: still_correct")


def check() -> None:
    """Raise AssertionError unless `still_correct` names exactly the gradients that the gradient check accepts."""
    original = LayerNorm.backward

    def without_a_term(self: LayerNorm, dy: np.ndarray) -> np.ndarray:
        x_hat, inverse_std, _ = self._saved[-1]
        dx = original(self, dy)
        mean_gx = (dy.reshape(x_hat.shape) * self.weight.data * x_hat).mean(-1, keepdims=True)
        return dx + (x_hat * mean_gx * inverse_std[:, None]).reshape(dx.shape)

    LayerNorm.backward = without_a_term  # type: ignore[method-assign]
    try:
        rows = check_model("post", False, 0.0, 0.0, 0)
    finally:
        LayerNorm.backward = original  # type: ignore[method-assign]
    names = [row.name for row in rows]
    last = [name for name in names if "decoder" in name and "norm" in name][-1].rpartition(".")[0]
    right = {row.name for row in rows if row.error < 1e-6}
    answer = set(still_correct(names, last))
    missing, extra = sorted(right - answer), sorted(answer - right)
    assert not missing, f"the gradient of {missing[0]} is still correct, but still_correct leaves it out"
    assert not extra, f"the gradient of {extra[0]} is wrong after the change, but still_correct names it"


if __name__ == "__main__":
    check()
    print("exercise 1: correct")
