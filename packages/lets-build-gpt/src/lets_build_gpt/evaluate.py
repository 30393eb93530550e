"""The validation loss: mean cross-entropy over a whole token sequence, in adjacent windows."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from lets_build_gpt._common.errors import check_integer, invalid
from lets_build_gpt.data import windows
from lets_build_gpt.model import Model


@torch.no_grad()
def evaluate(model: Model, ids: Int[Tensor, " tokens"], batch_size: int = 64) -> float:
    """Return the mean loss in nats per token, without dropout, in the model's own dtype.

    The sequence is cut into adjacent windows of `context_length` tokens (fewer, if it is shorter). A remainder
    shorter than a window is left out. The result does not depend on `batch_size`.
    Raises: ValueError if the sequence has fewer than two tokens.
    """
    check_integer("batch_size", batch_size, 1)
    if len(ids) < 2:
        raise invalid("ids", "have at least two tokens", len(ids))
    device = model.token_embedding.weight.device
    inputs, targets = windows(ids, min(model.config.context_length, len(ids) - 1))
    was_training = model.training
    model.eval()
    total = 0.0
    try:
        for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
            total += model.loss(x.to(device), y.to(device)).item() * y.numel()
    finally:
        model.train(was_training)
    return total / targets.numel()
