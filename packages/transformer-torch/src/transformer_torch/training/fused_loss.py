"""Fused output projection and label-smoothed loss: computed in chunks, so that the full logits are never stored.

With a vocabulary of thousands the logits are the largest tensor of a training step, and softmax, loss and their
backward passes read it a dozen times. Here each chunk of tokens is projected, its loss and gradient are computed in
place, and the memory is reused: the gradient of cross-entropy against q is softmax(logits) - q. A test holds it equal
to `LabelSmoothing` of the projection.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_torch.loss import LabelSmoothing, target_distribution


class _ProjectedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, smoothing: LabelSmoothing, chunk: int, backward: bool
    ) -> tuple[Tensor, Tensor]:
        right, other, padding, constant = target_distribution(smoothing.mode, smoothing.label_smoothing, weight.size(0))
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        low_weight = weight.to(x.dtype)
        loss, cross_entropy = (torch.zeros((), dtype=wide, device=x.device) for _ in range(2))
        if backward:
            dx, dweight = torch.empty_like(x), torch.zeros_like(weight, dtype=wide)
        for start in range(0, len(x), chunk):
            rows, y = x[start : start + chunk], targets[start : start + chunk, None]
            logits = (rows @ low_weight.T).to(wide)
            z_right, z_padding = logits.gather(-1, y), logits[:, smoothing.pad_id, None].clone()
            top = logits.amax(-1, keepdim=True)
            grad = logits.sub_(top).exp_()  # the logits become their gradient, times the sum: exp(logits) - q * sum
            total = grad.sum(-1, keepdim=True)
            log_total = top + total.log()
            mass = right + other * (weight.size(0) - 2) + padding  # q sums to one, except for rounding
            cross_entropy += (log_total - z_right).sum()
            loss += (mass * log_total - right * z_right - padding * z_padding + constant).sum()
            loss += other * (z_right + z_padding).sum()
            if backward:
                grad.scatter_add_(-1, y, (other - right) * total)
                grad[:, smoothing.pad_id] += (other - padding) * total[:, 0]
                low_grad = grad.to(x.dtype)
                dx[start : start + chunk] = (low_grad @ low_weight).div_(total)
                dweight += low_grad.T @ (rows / total).to(x.dtype)
        if other > 0:
            # `other` of all classes alike: a sum over classes of dot products is a dot product with the sum of rows
            all_x, all_classes = x.sum(0, dtype=wide), weight.sum(0, dtype=wide)
            loss -= other * (all_x @ all_classes)
            if backward:
                dx -= (other * all_classes).to(x.dtype)
                dweight -= other * all_x
        if backward:
            ctx.save_for_backward(dx, dweight)
        ctx.mark_non_differentiable(cross_entropy)
        return loss, cross_entropy

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        dx, dweight = ctx.saved_tensors
        return dx * scale.to(dx.dtype), dweight * scale, None, None, None, None


def projected_loss(
    x: Float[Tensor, "tokens d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, " tokens"],
    smoothing: LabelSmoothing,
    chunk: int = 512,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the sums of the smoothed losses and of the plain cross-entropies of `project(x)`.

    The targets must not hold padding. Gradients are computed where autograd is enabled, of the smoothed loss only.
    """
    backward = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    found: tuple[Tensor, Tensor] = _ProjectedLoss.apply(x, weight, targets, smoothing, chunk, backward)  # type: ignore[no-untyped-call]
    return found
