"""From logits to a token: temperature, top-k, top-p (nucleus), min-p, repetition penalty.

The order is that of Hugging Face: repetition penalty, temperature, top-k, top-p, min-p. Filtered logits become -inf.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gpt2.config import SamplingConfig

Generators = torch.Generator | Sequence[torch.Generator] | None
MIN_TEMPERATURE = 1e-6  # lower ones are computed as this one: logits divided by them would overflow


def filter_logits(
    logits: Float[Tensor, "*batch vocab"],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Float[Tensor, "*batch vocab"]:
    """Return the logits of the distribution to sample from.

    >>> filter_logits(torch.tensor([1.0, 3.0, 2.0]), top_k=2).tolist()
    [-inf, 3.0, 2.0]
    """
    SamplingConfig(temperature, top_k, top_p, min_p)  # raises for values out of range
    if temperature == 0:
        best = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, logits.argmax(-1, keepdim=True), True)
        return logits.masked_fill(~best, -torch.inf)
    if temperature < 1e-3:  # large quotients: subtracting the maximum changes no probability
        logits = (logits - logits.amax(-1, keepdim=True)) / max(temperature, MIN_TEMPERATURE)
    elif temperature != 1:
        logits = logits / temperature
    if top_k:
        kth = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if top_p < 1:
        ascending, order = logits.sort(dim=-1)
        drop = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
        drop[..., -1] = False  # the most probable token stays, whatever top_p is
        logits = logits.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
    if min_p:
        p = logits.softmax(-1)
        logits = logits.masked_fill(p < min_p * p.amax(-1, keepdim=True), -torch.inf)
    return logits


def penalize_repetition(
    logits: Float[Tensor, "batch vocab"],
    text: Int[Tensor, "batch time"],
    present: Bool[Tensor, "batch time"],
    penalty: float,
) -> Float[Tensor, "batch vocab"]:
    """Make the tokens of `text` (where `present`) less probable: divide positive logits, multiply negative ones."""
    used = torch.zeros_like(logits, dtype=torch.bool)
    # positions that are not present write to a column of their own, which is cut off
    used = torch.nn.functional.pad(used, (0, 1)).scatter_(1, text.where(present, logits.shape[1]), True)[:, :-1]
    return torch.where(used, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def sample_next(
    logits: Float[Tensor, "batch vocab"], sampling: SamplingConfig, generator: Generators = None
) -> Int[Tensor, " batch"]:
    """Return one token for each row. With a generator for each row, a row does not depend on the others.

    Raises: ValueError if the logits of a row are NaN or its largest one is infinite.
    """
    if not bool(logits.amax(-1).isfinite().all()):
        raise ValueError("the model's logits are NaN or infinite, so no token can be sampled")
    if sampling.temperature == 0:
        return logits.argmax(-1)
    filtered = filter_logits(logits, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    p = filtered.softmax(-1)
    if generator is None or isinstance(generator, torch.Generator):
        return torch.multinomial(p, 1, generator=generator)[:, 0]
    return torch.cat([torch.multinomial(row, 1, generator=g) for row, g in zip(p, generator, strict=True)])
