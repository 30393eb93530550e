"""Generate text, one character at a time."""
# Replace: the inference procedure of your paper.

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from MODULE.config import SamplingConfig
from MODULE.data import current_line
from MODULE.model import Model


def sample_next(logits: Float[Tensor, " vocab"], temperature: float, generator: torch.Generator | None = None) -> int:
    """Return a sampled id, or the most probable one if `temperature` is 0.

    >>> sample_next(torch.tensor([0.0, 2.0, 1.0]), 0.0)
    1
    """
    if temperature == 0:
        return int(logits.argmax())
    scaled = (logits.double() - logits.max()) / temperature  # at most 0, so that a small temperature cannot overflow
    return int(torch.multinomial(scaled.softmax(0), 1, generator=generator))


@torch.no_grad()
def generate(
    model: Model, ids: list[int], sampling: SamplingConfig, generator: torch.Generator | None = None
) -> list[int]:
    """Return the `max_new_tokens` ids that continue `ids`, which may be empty: then a line starts."""
    model.eval()
    length, device = model.config.context_length, model.embedding.device
    found = [0] * length + ids
    start = len(found)
    for _ in range(sampling.max_new_tokens):
        context = current_line(torch.tensor([found[-length:]], device=device))
        found.append(sample_next(model(context)[0].cpu(), sampling.temperature, generator))
    return found[start:]
