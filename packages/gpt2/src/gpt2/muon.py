"""Muon (Jordan et al. 2024): momentum whose update is made orthogonal, for the matrices of the blocks.

torch.optim.Muon takes one matrix at a time and always in bfloat16, which not every CPU can multiply in. Here
all matrices of one shape go through the iteration together, in the number format that the run computes in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from gpt2.sharding import split_like, whole

# odd polynomial a x + b x^3 + c x^5 that drives every singular value towards 1
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(
    g: Float[Tensor, "matrices rows columns"], iterations: int = 5, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "matrices rows columns"]:
    """U V^T of each g = U S V^T, roughly: singular values come to lie between about 0.7 and 1.2."""
    a, b, c = NEWTON_SCHULZ
    x = g.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(g.dtype)


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised, at the root mean square of an AdamW update (0.2): AdamW's rates serve."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype  # of the iteration's products; float16 has too small a range

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                # a matrix that FSDP has split is put together for the iteration, and split again after it
                updates = torch.stack([whole(self._momentum(p, group["momentum"])) for p in parameters])
                scale = 0.2 * math.sqrt(max(shape))
                for parameter, update in zip(parameters, orthogonalise(updates, dtype=self.dtype), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(split_like(parameter, update), alpha=-group["lr"] * scale)

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
        buffer.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(buffer, momentum)
