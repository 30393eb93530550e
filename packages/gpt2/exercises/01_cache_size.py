"""Exercise 1: how large is the key-value cache?

`gpt2 inspect` prints its size. Count the numbers that it holds, and see why the number of heads does not change it.

Fill in `cache_numbers`, then run this file.
"""

from __future__ import annotations

from gpt2 import GPT2Config
from gpt2.inference.cache import KVCache


def cache_numbers(config: GPT2Config, length: int, batch_size: int) -> int:
    """Return how many numbers the cache of `batch_size` texts of `length` tokens holds."""
    raise NotImplementedError("exercise 1: cache_numbers")


def check() -> None:
    """Raise AssertionError unless the count equals the size of the cache, for several shapes."""
    for d_model, n_heads, n_layers, length, batch_size in ((8, 1, 1, 5, 1), (8, 4, 3, 5, 2), (12, 3, 2, 16, 4)):
        config = GPT2Config(d_model=d_model, n_heads=n_heads, n_layers=n_layers, vocab_size=10, context_length=16)
        cache = KVCache(config, length, batch_size)
        right, found = cache.keys.numel() + cache.values.numel(), cache_numbers(config, length, batch_size)
        sizes = f"d_model {d_model}, {n_heads} heads, {n_layers} layers, {batch_size} texts of {length} tokens"
        assert found == right, f"{sizes}: the cache holds {right} numbers, got {found}"


if __name__ == "__main__":
    check()
    print("exercise 1: correct")
