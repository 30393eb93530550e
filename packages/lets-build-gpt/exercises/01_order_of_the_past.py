"""Exercise 1: does the order of the past matter?

Set the position embeddings of a model to zero, and shuffle the tokens before the last one. Do the last logits change in
a model with one block? With two, or three? A query takes a weighted mean over a set of keys: what do they depend on?

Fill in `order_matters`, then run this file.
"""

from __future__ import annotations

import torch
from lets_build_gpt import Model


def order_matters(n_layers: int) -> bool:
    """Return whether the last logits depend on the order of the earlier tokens, without position embeddings."""
    raise NotImplementedError("exercise 1: order_matters")


def check() -> None:
    """Raise AssertionError unless models of one to three blocks behave as predicted."""
    ids, shuffled = torch.tensor([[3, 1, 4, 5]]), torch.tensor([[4, 3, 1, 5]])
    for n_layers in (1, 2, 3):
        torch.manual_seed(0)
        model = Model(context_length=4, d_model=16, h=2, n_layers=n_layers, n_vocab=7, dropout=0.0).eval()
        torch.nn.init.zeros_(model.position_embedding.weight)
        for name, parameter in model.named_parameters():
            if "position" not in name and parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.5)
        changed = not torch.allclose(model(ids)[:, -1], model(shuffled)[:, -1], atol=1e-4)
        answer = order_matters(n_layers)
        assert answer is changed, f"with {n_layers} blocks, the last logits {'change' if changed else 'stay the same'}"


if __name__ == "__main__":
    check()
    print("exercise 1: correct")
