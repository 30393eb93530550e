"""The optimizer and the learning-rate schedule."""
# Replace: the optimizer and the schedule of your paper.

from __future__ import annotations

import math

import torch
from torch import nn

from {{MODULE}}.config import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices, and none on biases."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    biases = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


def cosine(step: int, lr: float, warmup_steps: int, steps: int) -> float:
    """Return the learning rate of step 1, 2, … `steps`: a linear rise, then a cosine to zero.

    >>> [round(cosine(step, 1.0, 2, 6), 2) for step in range(1, 7)]
    [0.5, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step <= warmup_steps:
        return lr * step / warmup_steps
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))
