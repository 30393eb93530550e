"""Exercise 2: what is the loss of an untrained model?

The logits of a new model are not exactly equal. The last norm gives vectors of d_model numbers of mean square 1, and
the head multiplies them by weights of standard deviation 0.02. So each logit is random, with a variance that you can
state. If logits are normal with a small variance s², the expected loss is ln(vocab_size) + s²/2.

Fill in `expected_loss`, then run this file.
"""

from __future__ import annotations

import torch
from lets_build_gpt import Model


def expected_loss(vocab_size: int, d_model: int) -> float:
    """Return the expected loss of a new model in nats."""
    raise NotImplementedError("exercise 2: expected_loss")


def check() -> None:
    """Raise AssertionError unless the prediction is within 0.06 of the loss of three new models."""
    for vocab_size, d_model in ((65, 384), (1000, 64), (300, 512)):
        torch.manual_seed(0)
        model = Model(context_length=16, d_model=d_model, h=4, n_layers=1, n_vocab=vocab_size, dropout=0.0).eval()
        ids, targets = torch.randint(0, vocab_size, (2, 64, 16))
        with torch.no_grad():
            loss = model.loss(ids, targets).item()
        found = float(expected_loss(vocab_size, d_model))
        sizes = f"vocab_size {vocab_size} and d_model {d_model}"
        assert abs(found - loss) < 0.06, f"with {sizes}, the loss is {loss:.3f}, but expected_loss returns {found:.3f}"


if __name__ == "__main__":
    check()
    print("exercise 2: correct")
