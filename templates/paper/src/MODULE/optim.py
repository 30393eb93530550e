"""The optimizer and the learning-rate schedule."""
# Replace: the optimizer and the schedule of your paper.

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class AdamW:
    """AdamW (arXiv:1711.05101, Algorithm 2) with weight decay on matrices and none on biases.

    It is written out because it is short, and because the first use of an optimizer of torch.optim imports
    torch._dynamo, which takes longer than importing torch.
    """

    def __init__(
        self, model: nn.Module, weight_decay: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.parameters = dict(model.named_parameters())
        self.weight_decay, self.betas, self.eps = weight_decay, betas, eps
        self.m = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.v = {name: torch.zeros_like(p) for name, p in self.parameters.items()}

    @torch.no_grad()
    def step(self, number: int, lr: float) -> None:
        """Update the parameters in place. number: 1 for the first step, which corrects the bias of the moments."""
        beta1, beta2 = self.betas
        for name, p in self.parameters.items():
            gradient, m, v = p.grad, self.m[name], self.v[name]
            if gradient is None:
                continue
            m.lerp_(gradient, 1 - beta1)
            v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            if p.dim() >= 2:
                p.mul_(1 - lr * self.weight_decay)
            p.addcdiv_(m / (1 - beta1**number), (v / (1 - beta2**number)).sqrt_().add_(self.eps), value=-lr)

    def state(self) -> dict[str, Tensor]:
        """Return the moments by name; the tensors are those that `step` updates."""
        return {f"m.{name}": m for name, m in self.m.items()} | {f"v.{name}": v for name, v in self.v.items()}


def cosine(step: int, lr: float, warmup_steps: int, steps: int) -> float:
    """Return the learning rate of step 1, 2, … `steps`: a linear rise, then a cosine to zero.

    >>> [round(cosine(step, 1.0, 2, 6), 2) for step in range(1, 7)]
    [0.5, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step <= warmup_steps:
        return lr * step / warmup_steps
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))
