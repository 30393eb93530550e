"""LoRA (Hu et al. 2021): train a low-rank change of each projection, W + A B alpha / rank; W itself stays frozen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from gpt2._common.errors import check_integer, check_positive
from gpt2.model import GPT2, Projection


class LoRA(nn.Module):
    """A frozen projection plus a low-rank update: y = x W + b + x A B alpha / rank. B starts at zero."""

    def __init__(self, inner: Projection, rank: int, alpha: float) -> None:
        super().__init__()
        d_in, d_out = inner.weight.shape
        check_integer("rank", rank, 1, min(d_in, d_out))
        check_positive("alpha", alpha)
        self.inner, self.scale = inner, alpha / rank
        self.a = nn.Parameter(inner.weight.new_empty(d_in, rank))
        self.b = nn.Parameter(inner.weight.new_zeros(rank, d_out))
        nn.init.normal_(self.a, 0.0, 1 / math.sqrt(d_in))

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Return x W + b + (x A) B alpha / rank."""
        y: Tensor = self.inner(x) + (x @ self.a) @ self.b * self.scale
        return y

    def merged(self) -> Projection:
        """Return a projection with the update added to its weight: the same function at no extra cost."""
        projection = Projection(*self.inner.weight.shape)
        projection.weight = nn.Parameter(self.inner.weight.detach() + (self.a @ self.b).detach() * self.scale)
        projection.bias = nn.Parameter(self.inner.bias.detach().clone())
        return projection


def add_lora(model: GPT2, rank: int, alpha: float | None = None) -> GPT2:
    """Freeze a model in place and add a trainable update to every projection of its blocks; return it.

    alpha: 2 rank by default.
    """
    model.requires_grad_(False)
    _replace(model, Projection, lambda module: LoRA(module, rank, 2.0 * rank if alpha is None else alpha))
    return model


def merge_lora(model: GPT2) -> GPT2:
    """Merge all updates in place, so that the model is a plain GPT2 with trainable weights again; return it."""
    _replace(model, LoRA, lambda module: module.merged())
    return model.requires_grad_(True)


def _replace(model: GPT2, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind) and not isinstance(parent, LoRA):
                setattr(parent, name, make(child))
