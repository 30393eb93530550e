"""Generation, one token at a time, with the keys and values of the past kept or computed again."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lets_build_gpt.cache import KeyValueCache
from lets_build_gpt.model import Model


@torch.no_grad()
def generate(
    model: Model,
    ids: Int[Tensor, "batch prompt"],
    max_length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Int[Tensor, "batch max_length"]:
    """Continue each prompt until it has max_length tokens, the prompt among them; a longer prompt is an error.

    temperature 0 takes the likeliest token; top_k samples among the k likeliest only.

    Positions are learned, so the keys of a token are right for one position only. When the context is full, the
    last half of it is kept and its positions start again from 0. The rule is the same with and without the cache;
    the cache is then filled anew, and every other token costs a single row. A prompt longer than the context
    is cut to its last half likewise.
    """
    if ids.shape[1] < 1 or max_length < ids.shape[1]:
        raise ValueError(f"max_length: {max_length}; the prompt has {ids.shape[1]} tokens and needs at least one")
    if temperature < 0:
        raise ValueError(f"temperature: {temperature}; it has to be at least 0")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: {top_k}; it has to be at least 1")
    context_length = model.config.context_length
    kept = max(1, context_length // 2)
    was_training = model.training
    model.eval()
    cache = KeyValueCache(context_length) if use_cache else None
    start = 0  # the token that is at position 0
    while ids.shape[1] < max_length:
        if ids.shape[1] - start > context_length:
            start = ids.shape[1] - kept
            if cache is not None:
                cache.clear()
        seen = start + cache.length if cache is not None else start
        logits = model(ids[:, seen:], cache=cache)[:, -1]
        ids = torch.cat([ids, choose(logits, temperature, top_k, generator)], dim=1)
    model.train(was_training)
    return ids


def choose(
    logits: Float[Tensor, "batch n_vocab"],
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "batch 1"]:
    """One token for each row: the likeliest, or drawn from softmax(logits / temperature) over the top_k."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    logits = logits.float() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        threshold = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    return torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator)
