"""The validation protocol: mean cross-entropy over the whole split, in non-overlapping windows."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from lets_build_gpt.data import windows
from lets_build_gpt.model import Model


@torch.no_grad()
def evaluate(model: Model, ids: Int[Tensor, " tokens"], batch_size: int = 64) -> float:
    """Nats per token over every window of context_length tokens, dropout off. Same result for any batch_size."""
    device = model.token_embedding.weight.device
    inputs, targets = windows(ids, model.config.context_length)
    was_training = model.training
    model.eval()
    total = 0.0
    for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
        total += model.loss(x.to(device), y.to(device)).item() * y.numel()
    model.train(was_training)
    return total / targets.numel()
