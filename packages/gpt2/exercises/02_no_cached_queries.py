"""Exercise 2: why does the cache store keys and values, but no queries?

Write attention for one new token of one head. It gets the query of this token only, and the cached keys and values of
the earlier tokens. Its output must equal the last row of causal attention over all tokens.

Fill in `attend_with_cache`, then run this file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend_with_cache(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output (batch, 1, d_k), and the cache with the new token: keys and values (batch, time + 1, d_k).

    q, k, v: those of the new token, (batch, 1, d_k). keys, values: those of the earlier tokens, (batch, time, d_k).
    """
    raise NotImplementedError("exercise 2: attend_with_cache")


def check() -> None:
    """Raise AssertionError unless token after token gives the rows of causal attention."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 6, 4, dtype=torch.float64)
    right = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    keys, values = k[:, :0], v[:, :0]
    for t in range(6):
        out, keys, values = attend_with_cache(q[:, t : t + 1], k[:, t : t + 1], v[:, t : t + 1], keys, values)
        assert keys.shape == (2, t + 1, 4), (
            f"after {t + 1} tokens, keys have shape {tuple(keys.shape)}, must be (2, {t + 1}, 4)"
        )
        assert torch.equal(keys, k[:, : t + 1]), f"after {t + 1} tokens, the keys are not those of the tokens in order"
        assert torch.equal(values, v[:, : t + 1]), (
            f"after {t + 1} tokens, the values are not those of the tokens in order"
        )
        assert out.shape == (2, 1, 4), f"the output has shape {tuple(out.shape)}, must have (2, 1, 4)"
        assert torch.allclose(out, right[:, t : t + 1]), (
            f"the output of token {t} differs from row {t} of causal attention"
        )


if __name__ == "__main__":
    check()
    print("exercise 2: correct")
