"""Exercise 4: write the test that detects a broken mask.

If each token attends to the next one, the training loss falls to almost zero, because the model can copy the answer.
The generated text is nonsense, because in generation the next token does not exist yet. Write a test without training.

Fill in `is_causal`, then run this file.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from lets_build_gpt import Model
from torch import Tensor


def is_causal(f: Callable[[Tensor], Tensor], vocab_size: int, time: int) -> bool:
    """Return whether no logits of f, (batch, time) ids to (batch, time, vocab_size), depend on later tokens."""
    raise NotImplementedError("exercise 4: is_causal")


def check() -> None:
    """Raise AssertionError unless `is_causal` accepts correct models, and rejects those that see one token or all."""
    torch.manual_seed(0)
    model = Model(context_length=8, d_model=16, h=2, n_layers=2, n_vocab=9, dropout=0.0).eval()
    table = torch.randn(9, 9)

    def next_token(ids: Tensor) -> Tensor:
        return model(ids) + 0.1 * table[ids.roll(-1, 1)]

    def first_only(ids: Tensor) -> Tensor:
        logits = model(ids).clone()
        logits[:, 0] += 0.1 * table[ids[:, 1]]
        return logits

    def last_token(ids: Tensor) -> Tensor:
        return model(ids) + 0.1 * table[ids[:, -1:]]

    def previous(ids: Tensor) -> Tensor:
        return model(ids) + table[ids].cumsum(1)

    with torch.no_grad():
        for name, f in (("a correct model", model), ("a sum over the past", previous)):
            assert is_causal(f, 9, 8) is True, f"{name} is causal, but is_causal is not True"
        broken = {
            "the next token": next_token,
            "the second token, at the first position": first_only,
            "the last token": last_token,
        }
        for name, f in broken.items():
            assert is_causal(f, 9, 8) is False, (
                f"logits that depend on {name} are not causal, but is_causal is not False"
            )


if __name__ == "__main__":
    check()
    print("exercise 4: correct")
