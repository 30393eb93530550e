"""The output projection and its smoothed loss in one, for a CPU: the logits of all tokens never exist at once.

With a vocabulary of thousands the logits are the largest tensors of a training step, and softmax, loss and their
backward passes go over them a dozen times. Here a block of tokens is projected, its loss and its gradient are
computed in place, and the block is forgotten: the gradient of cross-entropy against q is softmax(logits) - q. Tested
equal to `LabelSmoothing(projection)`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_torch.loss import LabelSmoothing, target_distribution


class _ProjectedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, smoothing: LabelSmoothing, block: int) -> Tensor:
        right, other, padding, constant = target_distribution(smoothing.mode, smoothing.eps, weight.size(0))
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        short_weight = weight.to(x.dtype)
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight, dtype=wide)
        loss = torch.zeros((), dtype=wide)
        for start in range(0, len(x), block):
            rows, y = x[start : start + block], targets[start : start + block, None]
            logits = (rows @ short_weight.T).to(wide)
            z_right, z_padding = logits.gather(-1, y), logits[:, smoothing.pad_id, None].clone()
            top = logits.amax(-1, keepdim=True)
            grad = logits.sub_(top).exp_()  # the logits become their gradient, times the sum: exp(logits) - q * sum
            total = grad.sum(-1, keepdim=True)
            mass = right + other * (weight.size(0) - 2) + padding  # q sums to one, but for rounding
            loss += (mass * (top + total.log()) - right * z_right - padding * z_padding + constant).sum()
            loss += other * (z_right + z_padding).sum()
            grad.scatter_add_(-1, y, (other - right) * total)
            grad[:, smoothing.pad_id] += (other - padding) * total[:, 0]
            short_grad = grad.to(x.dtype)
            dx[start : start + block] = (short_grad @ short_weight).div_(total)
            dweight += short_grad.T @ (rows / total).to(x.dtype)
        if other > 0:
            # `other` of all classes alike: a sum over classes of products is a product with the sum of their rows
            all_x, all_classes = x.sum(0, dtype=wide), weight.sum(0, dtype=wide)
            loss -= other * (all_x @ all_classes)
            dx -= (other * all_classes).to(x.dtype)
            dweight -= other * all_x
        ctx.save_for_backward(dx, dweight)
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        dx, dweight = ctx.saved_tensors
        return dx * scale.to(dx.dtype), dweight * scale, None, None, None


def projected_loss(
    x: Float[Tensor, "tokens d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, " tokens"],
    smoothing: LabelSmoothing,
    block: int = 512,
) -> Float[Tensor, ""]:
    """Sum of the smoothed losses of `project(x)`; the targets must hold no padding."""
    loss: Tensor = _ProjectedLoss.apply(x, weight, targets, smoothing, block)  # type: ignore[no-untyped-call]
    return loss
