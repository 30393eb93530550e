"""Solution of exercise 3: the weights times the distances, summed over the keys."""

import torch
from torch import Tensor


def mean_distance(attn: Tensor) -> Tensor:
    """Σ_k attn[…, q, k] · (q - k), averaged over batch and queries."""
    position = torch.arange(attn.shape[-1])
    distance = position[:, None] - position
    return (attn * distance).sum(-1).mean((1, 3))


def _all_keys(attn: Tensor) -> Tensor:
    position = torch.arange(attn.shape[-1])
    return (attn * (position[:, None] - position)).mean((1, 3, 4))


def _reversed(attn: Tensor) -> Tensor:
    return -mean_distance(attn)


WRONG = [{"mean_distance": _all_keys}, {"mean_distance": _reversed}]
