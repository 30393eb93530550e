# Vendored: edit shared/vendored/muon.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Muon (Jordan et al. 2024): Nesterov momentum whose update is orthogonalized, for the matrices of a model's blocks.

torch.optim.Muon takes one matrix at a time and always computes in bfloat16, which some CPUs cannot. Here all matrices
of one shape are orthogonalized together, in the dtype that the run computes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

# The quintic a s + b s^3 + c s^5 of the source; five applications bring singular values from (0, 1] to about 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return about U V^T for each matrix U S V^T of a stack (matrices, rows, columns).

    A step maps x to a x + b (x x^T) x + c (x x^T)^2 x, which changes the singular values alone: they end between about
    0.7 and 1.2. Computed in `dtype`; float16 has too small a range.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(Optimizer):
    """Nesterov momentum, orthogonalized, with decoupled weight decay.

    params: matrices only. scale: "spectral" multiplies the update of a (rows, columns) matrix by
    sqrt(max(1, rows / columns)), "rms" by 0.2 sqrt(max(rows, columns)), which matches the size of an AdamW update so
    that AdamW's learning rates can be used. dtype: of the orthogonalization.
    Raises: ValueError for a parameter that is not a matrix.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        *,
        scale: Literal["rms", "spectral"],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype, self.scale = dtype, scale
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise ValueError(f"`params` must be matrices, got a tensor of shape {tuple(p.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient. A closure is not called."""
        for group in self.param_groups:
            # a matrix and its transpose have the same singular values, so they share a stack
            stacks: dict[tuple[int, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    stacks.setdefault(tuple(sorted(p.shape)), []).append(p)
            for params in stacks.values():
                wide = [p.shape[0] <= p.shape[1] for p in params]
                momenta = [_full(self._momentum(p, group["momentum"])) for p in params]
                stack = torch.stack([m if w else m.mT for m, w in zip(momenta, wide, strict=True)])
                updates = orthogonalize(stack, dtype=self.dtype)
                for p, is_wide, update in zip(params, wide, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    direction = _shard_like(p, update if is_wide else update.mT)
                    p.add_(direction, alpha=-group["lr"] * self._scale(p.shape[0], p.shape[1]))

    def _scale(self, rows: int, columns: int) -> float:
        if self.scale == "rms":
            return 0.2 * math.sqrt(max(rows, columns))
        return math.sqrt(max(1.0, rows / columns))

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum_buffer"], momentum)


def _full(tensor: Tensor) -> Tensor:
    """The full tensor on every rank, if FSDP has sharded it (DTensor)."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _shard_like(pattern: Any, tensor: Tensor) -> Tensor:
    """A full tensor, sharded as `pattern` is: each rank keeps its own part of it."""
    if not hasattr(pattern, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor  # takes seconds to import

    return distribute_tensor(tensor.contiguous(), pattern.device_mesh, pattern.placements, src_data_rank=None)
