"""Generation, one token at a time, with the key/value cache or without: the result is the same."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lets_build_gpt._common.errors import check_choice, check_integer, check_not_negative, invalid
from lets_build_gpt.cache import KVCache
from lets_build_gpt.model import Model

MIN_TEMPERATURE = 1e-6  # division by less overflows float32; the most probable token then has probability 1 anyway


@torch.no_grad()
def generate(
    model: Model,
    start: Int[Tensor, "batch prompt"],
    max_length: int | None = None,
    *,
    max_new_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
    overflow: Literal["context_shift", "crop"] = "context_shift",
) -> Int[Tensor, "batch length"]:
    """Continue each prompt and return it with its continuation.

    max_length: length of the result with the prompt; max_new_tokens: without it. Exactly one must be given.
    temperature: divides the logits; 0 always takes the most probable token. top_k: sample among the k most probable
    tokens only.
    overflow: what happens when the text outgrows the context. "context_shift" keeps the last half of the context and
    restarts its positions at 0, so that the cache is refilled once per half context. "crop" computes the last
    context_length tokens again for every new token, as the lecture does.
    Raises: ValueError for an option out of range, an empty prompt, and NaN in the logits.
    """
    if start.shape[1] < 1:
        raise invalid("start", "have at least one token per row", start.shape[1])
    if (max_length is None) == (max_new_tokens is None):
        raise ValueError("exactly one of `max_length` and `max_new_tokens` must be given")
    if max_new_tokens is not None:
        check_integer("max_new_tokens", max_new_tokens, 0)
        length = start.shape[1] + max_new_tokens
    else:
        if not isinstance(max_length, int) or max_length < start.shape[1]:
            fix = "It counts the prompt; `max_new_tokens` does not"
            raise invalid("max_length", f"be an integer of at least the prompt's {start.shape[1]}", max_length, fix)
        length = max_length
    check_not_negative("temperature", temperature)
    if top_k is not None:
        check_integer("top_k", top_k, 1)
    check_choice("overflow", overflow, ("context_shift", "crop"))

    context_length = model.config.context_length
    kept = context_length if overflow == "crop" else max(1, context_length // 2)
    was_training = model.training
    model.eval()
    cache = KVCache(context_length) if use_cache else None
    ids, first = start, 0  # `first`: index of the token at position 0
    try:
        while ids.shape[1] < length:
            if ids.shape[1] - first > context_length:
                first = ids.shape[1] - kept
                if cache is not None:
                    cache.reset()
            cached = first + cache.length if cache is not None else first
            logits = model(ids[:, cached:], cache=cache)[:, -1]
            ids = torch.cat([ids, sample_next(logits, temperature, top_k, generator)], dim=1)
    finally:
        model.train(was_training)
    return ids


def sample_next(
    logits: Float[Tensor, "batch vocab"],
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "batch 1"]:
    """Return one token per row, sampled from softmax(logits / temperature) over the top_k, or the argmax at 0.

    Raises: ValueError if the logits hold NaN.
    """
    if logits.isnan().any():
        raise ValueError("the model's logits are NaN; its weights are damaged")
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    logits = logits.float() / max(temperature, MIN_TEMPERATURE)
    if top_k is not None and top_k < logits.shape[-1]:
        threshold = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    return torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator)
