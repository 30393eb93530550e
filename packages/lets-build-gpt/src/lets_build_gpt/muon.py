"""Muon: momentum whose update of each matrix is replaced by the nearest matrix with orthonormal rows.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). torch has it since 2.9
(`torch.optim.Muon`), one matrix at a time and always in bfloat16. This one works on all matrices of one shape
at once and in a type of the caller's choice, because a CPU without fast bfloat16 products needs float32; a test
holds it against torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# The quintic a s + b s^3 + c s^5 of the source: it pushes singular values from (0, 1] to around 1 in five steps.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Float[Tensor, "n rows columns"], steps: int = 5) -> Float[Tensor, "n rows columns"]:
    """Newton-Schulz: U S V^T becomes about U V^T, singular values between 0.7 and 1.2. rows <= columns.

    A step turns x into a x + b (x x^T) x + c (x x^T)^2 x, which acts on each singular value by itself.
    """
    a, b, c = COEFFICIENTS
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; the step scaled by sqrt(max(1, rows / columns)); decoupled weight decay.

    params: matrices only; ValueError for anything else. dtype: of the products that orthogonalise; bfloat16 is
    precise enough (the source's choice) and the faster one where the hardware has it.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise ValueError(f"params: a tensor of shape {tuple(p.shape)}; Muon takes matrices only")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(tuple(sorted(p.shape)), []).append(p)
            for same in by_shape.values():
                self._step_together(same, group["lr"], group["momentum"], group["weight_decay"])

    def _step_together(self, params: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        """One update of matrices that have the same shape, transposed or not."""
        wide = [p.shape[0] <= p.shape[1] for p in params]
        directions = []
        for p, is_wide in zip(params, wide, strict=True):
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            assert p.grad is not None
            state["momentum"].lerp_(p.grad, 1 - momentum)
            direction = p.grad.lerp(state["momentum"], momentum)
            directions.append(direction if is_wide else direction.T)
        updates = orthogonalize(torch.stack(directions).to(self.dtype)).to(params[0].dtype)
        for p, is_wide, update in zip(params, wide, updates, strict=True):
            scale = math.sqrt(max(1.0, p.shape[0] / p.shape[1]))
            p.mul_(1 - lr * weight_decay)
            p.add_(update if is_wide else update.T, alpha=-lr * scale)
