"""The learning rate schedule, and which optimizer trains which parameters."""

from __future__ import annotations

from typing import Any

import torch

from lets_build_gpt._common.muon import Muon
from lets_build_gpt.config import OptimConfig
from lets_build_gpt.model import Model


def linear(step: int, steps: int, lr: float, warmup_steps: int) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up to `lr`, then linear decay towards zero.

    >>> [round(linear(step, steps=5, lr=1.0, warmup_steps=2), 2) for step in range(5)]
    [0.5, 1.0, 0.75, 0.5, 0.25]
    """
    rising = max(1, warmup_steps)
    if step < rising:
        return lr * ((step + 1) / rising)
    return lr * ((steps - step) / (steps - rising + 1))


def make_optimizers(
    model: Model, config: OptimConfig, dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of a model; together they train every parameter once. The last one is AdamW.

    "muon": Muon for the matrices of the blocks, AdamW for the rest. "adamw": AdamW for all. Weight decay acts on the
    matrices of the blocks only. dtype: of Muon's orthogonalization. Every group stores its peak learning rate as
    `peak_lr`.
    """
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    in_blocks = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in in_blocks]
    adamw: dict[str, Any] = {"lr": config.lr, "betas": (0.9, config.beta2), "fused": True}
    optimizers: list[torch.optim.Optimizer]
    if config.optimizer == "muon":
        muon = Muon(matrices, config.muon_lr, config.momentum, config.weight_decay, scale="spectral", dtype=dtype)
        optimizers = [muon, torch.optim.AdamW(rest, weight_decay=0.0, **adamw)]
    else:
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        optimizers = [torch.optim.AdamW(groups, **adamw)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def set_learning_rate(optimizers: list[torch.optim.Optimizer], step: int, steps: int, warmup_steps: int) -> None:
    """Set the learning rate of every parameter group for a step, counted from 0."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = linear(step, steps, group["peak_lr"], warmup_steps)
