"""Generation, one token at a time, with the key/value cache or without: the result is the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lets_build_gpt._common.errors import (
    check_choice,
    check_fraction,
    check_integer,
    check_not_negative,
    invalid,
    is_integer,
)
from lets_build_gpt.cache import KVCache
from lets_build_gpt.model import Model

MIN_TEMPERATURE = 1e-6  # division by less overflows float32; the most probable token then has probability 1 anyway
Generators = torch.Generator | Sequence[torch.Generator] | None


def generate(
    model: Model,
    start: Int[Tensor, "batch prompt"],
    max_length: int | None = None,
    *,
    max_new_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: Generators = None,
    use_cache: bool = True,
    overflow: Literal["context_shift", "crop"] = "context_shift",
) -> Int[Tensor, "batch length"]:
    """Continue each prompt and return it with its continuation.

    max_length: length of the result with the prompt; max_new_tokens: without it. Exactly one must be given. The other
    arguments and exceptions: see `stream`.
    """
    if (max_length is None) == (max_new_tokens is None):
        raise ValueError("exactly one of `max_length` and `max_new_tokens` must be given")
    if max_length is not None:
        if not is_integer(max_length) or max_length < start.shape[1]:
            fix = "It counts the prompt; `max_new_tokens` does not"
            raise invalid("max_length", f"be an integer of at least the prompt's {start.shape[1]}", max_length, fix)
        max_new_tokens = max_length - start.shape[1]
    assert max_new_tokens is not None
    new = stream(
        model,
        start,
        max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=generator,
        use_cache=use_cache,
        overflow=overflow,
    )
    return torch.cat([start, *new], dim=1)


def stream(
    model: Model,
    start: Int[Tensor, "batch prompt"],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: Generators = None,
    use_cache: bool = True,
    overflow: Literal["context_shift", "crop"] = "context_shift",
) -> Iterator[Int[Tensor, "batch 1"]]:
    """Continue each prompt and yield the tokens as they are sampled, one per row.

    temperature, top_k, top_p: see `filter_logits`. generator: one for all rows, or one per row; the text of a row then
    does not depend on the others.
    overflow: what happens when the text outgrows the context. "context_shift" keeps the last half of the context and
    restarts its positions at 0, so that the cache is refilled once per half context. "crop" computes the last
    context_length tokens again for every new token, as the lecture does.
    The model is in evaluation mode until the iterator ends.
    Raises: ValueError for an option out of range, an empty prompt, and NaN in the logits.
    """
    if start.shape[1] < 1:
        raise invalid("start", "have at least one token per row", start.shape[1])
    check_integer("max_new_tokens", max_new_tokens, 0)
    check_sampling(temperature, top_k, top_p)
    check_choice("overflow", overflow, ("context_shift", "crop"))
    if isinstance(generator, Sequence) and len(generator) != start.shape[0]:
        raise invalid("generator", f"be one per row, {start.shape[0]}", len(generator))
    return _stream(model, start, max_new_tokens, (temperature, top_k, top_p), generator, use_cache, overflow == "crop")


@torch.no_grad()
def _stream(
    model: Model,
    ids: Int[Tensor, "batch prompt"],
    max_new_tokens: int,
    sampling: tuple[float, int | None, float | None],
    generator: Generators,
    use_cache: bool,
    crop: bool,
) -> Iterator[Int[Tensor, "batch 1"]]:
    context_length = model.config.context_length
    kept = context_length if crop else max(1, context_length // 2)
    cache = KVCache(context_length) if use_cache else None
    first = 0  # index of the token at position 0
    was_training = model.training
    model.eval()
    try:
        for _ in range(max_new_tokens):
            if ids.shape[1] - first > context_length:
                first = ids.shape[1] - kept
                if cache is not None:
                    cache.reset()
            cached = first + cache.length if cache is not None else first
            logits = model(ids[:, cached:], cache=cache)[:, -1]
            new = sample_next(logits, *sampling, generator=generator)
            ids = torch.cat([ids, new], dim=1)
            yield new
    finally:
        model.train(was_training)


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError for a sampling option out of range."""
    check_not_negative("temperature", temperature)
    if top_k is not None:
        check_integer("top_k", top_k, 1)
    if top_p is not None:
        check_fraction("top_p", top_p, one=True, zero=False)


def filter_logits(
    logits: Float[Tensor, "batch vocab"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "batch vocab"]:
    """Return the logits of the distribution to sample from; excluded tokens have -inf.

    temperature (above 0): divides the logits. top_k: keep the k most probable tokens. top_p: of these, keep the
    smallest set whose probabilities sum to at least top_p (nucleus sampling, 1904.09751, section 3.1).

    >>> filter_logits(torch.tensor([[1.0, 3.0, 2.0]]), top_k=2).tolist()
    [[-inf, 3.0, 2.0]]
    """
    logits = logits.float() / max(temperature, MIN_TEMPERATURE)
    if top_k is not None and top_k < logits.shape[-1]:
        threshold = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    if top_p is not None and top_p < 1:
        ascending, order = logits.sort(dim=-1)
        excluded = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
        excluded[:, -1] = False  # the most probable token stays
        logits = logits.masked_fill(excluded.scatter(-1, order, excluded), -torch.inf)
    return logits


def sample_next(
    logits: Float[Tensor, "batch vocab"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    *,
    generator: Generators = None,
) -> Int[Tensor, "batch 1"]:
    """Return one token per row, sampled from softmax(filter_logits(…)), or the argmax at temperature 0.

    Raises: ValueError if the logits hold NaN.
    """
    if logits.isnan().any():
        raise ValueError("the model's logits are NaN; its weights are damaged")
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    p = torch.softmax(filter_logits(logits, temperature, top_k, top_p), dim=-1)
    if generator is None or isinstance(generator, torch.Generator):
        return torch.multinomial(p, 1, generator=generator)
    return torch.cat([torch.multinomial(row[None], 1, generator=g) for row, g in zip(p, generator, strict=True)])
