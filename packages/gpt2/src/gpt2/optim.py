"""Optimizers and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from gpt2.model import GPT2
from gpt2.muon import Muon
from gpt2.settings import OptimConfig


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """The rate of a step (from 0): up in a line for `warmup` steps, then down to `final_lr` at the last one.

    >>> config = OptimConfig(lr=1.0, warmup=2, schedule="linear", final_lr=0.0)
    >>> [learning_rate(config, step, steps=4) for step in range(4)]
    [0.5, 1.0, 1.0, 0.0]
    """
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, steps - 1 - config.warmup)
    match config.schedule:
        case "cosine":
            high = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        case "linear":
            high = 1 - min(1.0, done)
        case "constant":
            high = 1.0
    return config.lr * (config.final_lr + (1 - config.final_lr) * high)


def make_optimizers(model: torch.nn.Module, config: OptimConfig, dtype: torch.dtype = torch.float32) -> list[Optimizer]:
    """AdamW with decay for matrices only; with muon another one, that multiplies in `dtype`, for the blocks' own."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = {name: p for name, p in trained.items() if p.dim() >= 2}
    hidden: dict[str, Tensor] = {}
    if config.optimizer == "muon":
        hidden = {name: p for name, p in matrices.items() if ".attn." in name or ".mlp." in name}
    decayed = [p for name, p in matrices.items() if name not in hidden]
    plain = [p for name, p in trained.items() if name not in matrices]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    found: list[Optimizer] = []
    if groups:
        found.append(AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True))
    if hidden:
        muon_dtype = torch.float32 if dtype == torch.float16 else dtype
        found.append(Muon(list(hidden.values()), config.lr, weight_decay=config.weight_decay, dtype=muon_dtype))
    if not found:
        raise ValueError("model: no parameter of it is trained")
    return found


def flops_per_token(model: GPT2, context_length: int) -> float:
    """Forward and backward: 6 per weight that is multiplied, and 12 layers d_model per token attended to.

    The head counts even when tied, the two embeddings do not; causal attention is counted whole, as is usual.
    """
    c = model.config
    weights = sum(p.numel() for p in model.h.parameters()) + c.vocab_size * c.d_model
    return 6.0 * weights + 12.0 * c.n_layers * c.d_model * context_length
