"""Solution of exercise 4: change the tokens after each position, and compare the logits up to it."""

from collections.abc import Callable

import torch
from torch import Tensor


def is_causal(f: Callable[[Tensor], Tensor], vocab_size: int, time: int) -> bool:
    """Each suffix is replaced by other tokens; what comes before must not change."""
    ids = torch.arange(time)[None] % vocab_size
    logits = f(ids)
    for t in range(1, time):
        changed = ids.clone()
        changed[:, t:] = (changed[:, t:] + 1) % vocab_size
        if not torch.allclose(f(changed)[:, :t], logits[:, :t], atol=1e-6):
            return False
    return True


def _last_only(f: Callable[[Tensor], Tensor], vocab_size: int, time: int) -> bool:
    ids = torch.arange(time)[None] % vocab_size
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % vocab_size
    return torch.allclose(f(changed)[:, :-1], f(ids)[:, :-1])


WRONG = [{"is_causal": _last_only}, {"is_causal": lambda f, vocab_size, time: True}]
