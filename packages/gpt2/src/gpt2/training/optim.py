"""Optimizers and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from gpt2._common.muon import Muon
from gpt2.config import OptimConfig


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then decay to `final_lr` at the last step.

    >>> config = OptimConfig(lr=1.0, warmup_steps=2, schedule="linear", final_lr=0.0)
    >>> [learning_rate(config, step, steps=4) for step in range(4)]
    [0.5, 1.0, 1.0, 0.0]
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - 1 - config.warmup_steps)
    match config.schedule:
        case "cosine":
            high = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        case "linear":
            high = 1 - min(1.0, done)
        case "constant":
            high = 1.0
    return config.lr * (config.final_lr + (1 - config.final_lr) * high)


def make_optimizers(model: torch.nn.Module, config: OptimConfig, dtype: torch.dtype = torch.float32) -> list[Optimizer]:
    """Return AdamW with weight decay on matrices only, and with optimizer="muon" also Muon for the blocks' matrices.

    dtype: of Muon's orthogonalization; float16 has too small a range, so float32 replaces it. Muon treats c_attn, the
    joint matrix of queries, keys, and values, as one matrix.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = {name: p for name, p in trained.items() if p.dim() >= 2}
    hidden: dict[str, Tensor] = {}
    if config.optimizer == "muon":
        hidden = {name: p for name, p in matrices.items() if ".attn." in name or ".mlp." in name}
    decayed = [p for name, p in matrices.items() if name not in hidden]
    plain = [p for name, p in trained.items() if name not in matrices]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    optimizers: list[Optimizer] = []
    if groups:
        optimizers.append(AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True))
    if hidden:
        muon_dtype = torch.float32 if dtype == torch.float16 else dtype
        matrices_of_blocks = list(hidden.values())
        muon = Muon(matrices_of_blocks, config.lr, weight_decay=config.weight_decay, scale="rms", dtype=muon_dtype)
        optimizers.append(muon)
    if not optimizers:
        raise ValueError("`model` must have a trainable parameter, got none")
    return optimizers
