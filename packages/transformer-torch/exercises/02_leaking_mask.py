"""Exercise 2: which positions can copy their answer?

In training, the decoder gets the target shifted by one: position t reads tokens 0 to t, and must predict token t + 1.
If the mask shows one more token, the training loss falls to what dropout leaves, and the translations are nonsense: the
model copies the token that it should predict.

Fill in `leaks`, then run this file.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformer_torch.attention import causal_mask


def leaks(mask: Tensor) -> list[int]:
    """Return the positions whose query may attend to the token that it must predict.

    mask: (time, time), True where a query (row) may attend to a key (column).
    """
    raise NotImplementedError("exercise 2: leaks")


def check() -> None:
    """Raise AssertionError unless the leaks of correct and broken masks are found."""
    correct = causal_mask(5)[0, 0]
    one = torch.zeros(5, 5, dtype=torch.bool)
    one[2, 3] = True
    far = correct.clone()
    far[0, 2] = True
    cases = {
        "the causal mask": (correct, []),
        "a mask that shows one more token": (torch.ones(5, 5).tril(1).bool(), [0, 1, 2, 3]),
        "no mask": (torch.ones(5, 5).bool(), [0, 1, 2, 3]),
        "a causal mask with one more entry, (2, 3)": (correct | one, [2]),
        "a causal mask with the entry (0, 2), which is not the next token": (far, []),
    }
    for name, (mask, right) in cases.items():
        found = list(leaks(mask.clone()))
        assert found == right, f"{name}: the positions {right} leak, got {found}"


if __name__ == "__main__":
    check()
    print("exercise 2: correct")
