"""Solution of exercise 1: each token has one key and one value per head, of d_model / n_heads numbers each."""

from gpt2 import GPT2Config


def cache_numbers(config: GPT2Config, length: int, batch_size: int) -> int:
    """Keys and values of all heads together have 2 d_model numbers in every layer, however many heads there are."""
    return 2 * config.n_layers * batch_size * length * config.d_model


def _times_heads(config: GPT2Config, length: int, batch_size: int) -> int:
    return cache_numbers(config, length, batch_size) * config.n_heads


def _keys_only(config: GPT2Config, length: int, batch_size: int) -> int:
    return cache_numbers(config, length, batch_size) // 2


WRONG = [{"cache_numbers": _times_heads}, {"cache_numbers": _keys_only}]
