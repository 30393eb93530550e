"""Exercise 2: why does the bias of the keys have no gradient?

Keys are K = X W_K + b_K, and the scores are S = Q Kᵀ/√d_k. From the gradient dS of the scores, derive the gradient of
b_K for one head. Then look at what you have written: the rows of dS, the gradient of a softmax, sum to 0.

Fill in `key_bias_gradient`, then run this file.
"""

from __future__ import annotations

import numpy as np
from attention_numpy.functional import softmax, softmax_backward


def key_bias_gradient(ds: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return db_K (d_k,) from ds (queries, keys) and q (queries, d_k)."""
    raise NotImplementedError("exercise 2: key_bias_gradient")


def check() -> None:
    """Raise AssertionError unless the gradient equals finite differences, and is 0 behind a softmax."""
    rng = np.random.default_rng(0)
    q, k, ds = rng.normal(size=(5, 4)), rng.normal(size=(3, 4)), rng.normal(size=(5, 3))
    numeric = np.empty(4)
    for i in range(4):
        step = np.eye(4)[i] * 1e-6
        change = q @ (k + step).T / 2 - q @ (k - step).T / 2  # √d_k = 2
        numeric[i] = (ds * change).sum() / 2e-6
    found = np.asarray(key_bias_gradient(ds.copy(), q.copy()))
    assert found.shape == (4,), f"the gradient has shape {found.shape}, must have (4,)"
    wrong = np.flatnonzero(~np.isclose(found, numeric, rtol=1e-6, atol=1e-8))
    assert not len(wrong), (
        f"db_K differs from finite differences at {wrong[0]}: {found[wrong[0]]:.4f}, {numeric[wrong[0]]:.4f}"
    )
    p = softmax(q @ k.T / 2)
    behind = key_bias_gradient(softmax_backward(rng.normal(size=(5, 3)), p), q)
    assert np.abs(behind).max() < 1e-12, "behind a softmax, the gradient must be 0 up to rounding"


if __name__ == "__main__":
    check()
    print("exercise 2: correct")
