"""Adam, the paper's optimizer (section 5.3), and Muon beside it, which learns a small text in fewer updates.

Muon (Jordan et al. 2024) makes the momentum of each matrix orthogonal before it is added, so that an update turns all
directions of the matrix alike, not those most of which the gradient is full already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Adam, Optimizer

from transformer_torch.config import TrainConfig
from transformer_torch.model import Transformer

# a x + b x^3 + c x^5: applied over and over it brings every number of (0, 1] near 1
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonal(
    g: Float[Tensor, "matrices rows columns"], dtype: torch.dtype = torch.float32, iterations: int = 5
) -> Float[Tensor, "matrices rows columns"]:
    """U V^T of each g = U S V^T, roughly: the singular values come to lie between about 0.7 and 1.2.

    The polynomial acts on the singular values alone: x, x x^T x and x (x^T x)^2 have the same U and V.
    """
    a, b, c = NEWTON_SCHULZ
    tall = g.size(-2) > g.size(-1)
    x = (g.mT if tall else g).to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(g.dtype)


class Muon(Optimizer):
    """Nesterov momentum, made orthogonal, and as large as an update of Adam (0.2 on average): Adam's rates serve.

    All matrices of one shape go through the iteration together, in a type that this machine can multiply in
    (torch.optim.Muon takes them one by one, and always in bfloat16).
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 0.0, momentum: float = 0.95, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient; a closure is not called."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                momenta = torch.stack([self._momentum(p, group["momentum"]) for p in parameters])
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                for parameter, direction in zip(parameters, orthogonal(momenta, self.dtype), strict=True):
                    parameter.add_(direction, alpha=-rate)

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        assert parameter.grad is not None
        state: dict[str, Any] = self.state[parameter]
        mean = state.setdefault("momentum", torch.zeros_like(parameter))
        mean.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(mean, momentum)


def make_optimizers(model: Transformer, config: TrainConfig, dtype: torch.dtype) -> list[Optimizer]:
    """The optimizers of a run: Adam alone, or Muon for the matrices of the layers and Adam for the rest.

    dtype: that of autocast; Muon's products are in bfloat16 if it is, else in float32. The rate is for the caller to
    set before each update.
    """
    matrices: list[Tensor] = []
    if config.optimizer == "muon":
        layers = (model.encoder, model.decoder)
        matrices = [p for stack in layers for p in stack.parameters() if p.dim() == 2]
    muon = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in muon]
    fused = others[0].device.type in ("cpu", "cuda")
    found: list[Optimizer] = [Adam(others, lr=0.0, betas=(0.9, config.beta2), eps=1e-9, fused=fused)]
    if matrices:
        found.append(Muon(matrices, dtype=dtype if dtype == torch.bfloat16 else torch.float32))
    return found
