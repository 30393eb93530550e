"""Exercise 3: what is wrong with cached keys after a context shift?

With `overflow="context_shift"`, a text that has filled the context continues with its last half at positions 0, 1, ….
The cached keys of this half cannot be kept: they were computed from other position vectors, and from tokens that are no
longer in the context. Compute the right ones.

Fill in `keys_after_shift`, then run this file.
"""

from __future__ import annotations

import torch
from gpt2 import GPT2, GPT2Config
from gpt2.inference.cache import KVCache
from torch import Tensor


def keys_after_shift(model: GPT2, ids: Tensor, old: KVCache, keep: int) -> Tensor:
    """Return the keys (layers, batch, heads, keep, d_k) with which the last `keep` tokens of the text continue.

    ids: (batch, time). old: the cache of the whole text. `model.hidden(ids, cache)` fills a new KVCache.
    """
    raise NotImplementedError("exercise 3: keys_after_shift")


def check() -> None:
    """Raise AssertionError unless the next logits are those of the last tokens alone."""
    torch.manual_seed(0)
    config = GPT2Config(d_model=16, n_heads=2, n_layers=2, vocab_size=11, context_length=8, dropout=0.0)
    model = GPT2(config).eval()
    torch.nn.init.normal_(model.wpe.weight)
    ids = torch.randint(0, 11, (2, 8))
    with torch.no_grad():
        old, right = KVCache(config, 8, 2), KVCache(config, 4, 2)
        model.hidden(ids, old)
        model.hidden(ids[:, 4:], right)
        found = keys_after_shift(model, ids, old, 4)
    assert found.shape == right.keys.shape, (
        f"the keys have shape {tuple(found.shape)}, must have {tuple(right.keys.shape)}"
    )
    for layer in range(2):
        correct = torch.allclose(found[layer], right.keys[layer], atol=1e-5)
        assert correct, f"the keys of layer {layer} are not those of the last 4 tokens at positions 0 to 3"


if __name__ == "__main__":
    check()
    print("exercise 3: correct")
