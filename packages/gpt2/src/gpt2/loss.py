"""Cross-entropy of a linear head that never stores all logits; its gradient is computed in the forward pass.

For N tokens and a vocabulary of V, the logits are the largest tensor of a GPT-2 step: (N, V) in float32, three times in
the usual backward pass. Here rows are processed in chunks, and only the gradients of the hidden states and of the head
are kept:

    p = softmax(x W^T),   loss = -sum log p[target],   dx = (p - onehot) W,   dW = (p - onehot)^T x
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_LOGITS = 2**26  # elements of one chunk: 128 MiB in bfloat16


def _chunk_rows(vocab: int) -> int:
    return max(1, MAX_LOGITS // vocab)


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of the losses. x: (N, D), weight: (V, D), both of one dtype; targets: (N)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, ignore_index: int, grad: bool) -> Tensor:
        need_x, need_weight = grad and x.requires_grad, grad and weight.requires_grad
        dx = torch.empty_like(x) if need_x else None
        dweight: Tensor | None = None
        total = torch.zeros((), dtype=_accumulator(x.dtype), device=x.device)
        rows = _chunk_rows(weight.shape[0])
        for start in range(0, len(x), rows):
            part, target = x[start : start + rows], targets[start : start + rows]
            keep = target != ignore_index
            index = target.where(keep, 0)[:, None]
            logits = part @ weight.T
            picked = logits.gather(1, index)[:, 0].to(total.dtype)
            p = torch.softmax(logits, dim=1)  # in and out in the dtype of x, in float32 inside
            # log sum exp from the largest logit and its probability, which avoids a float32 copy of all logits
            log_sum = logits.amax(1).to(total.dtype) - p.amax(1).to(total.dtype).log()
            total += torch.where(keep, log_sum - picked, 0.0).sum()
            if not (need_x or need_weight):
                continue
            p.scatter_add_(1, index, torch.full_like(index, -1, dtype=p.dtype))
            # ignored rows are zeroed in the narrow tensors, not in p, which is vocab wide
            if dx is not None:
                torch.mm(p, weight, out=dx[start : start + rows])
                dx[start : start + rows].masked_fill_(~keep[:, None], 0.0)
            if need_weight:
                part_dweight = p.T @ part.masked_fill(~keep[:, None], 0.0)
                # several chunks are summed in float32
                if len(x) > rows:
                    part_dweight = part_dweight.to(total.dtype)
                dweight = part_dweight if dweight is None else dweight + part_dweight
        ctx.save_for_backward(dx, dweight)
        ctx.dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        dx, dweight = ctx.saved_tensors
        (scale,) = grads
        return (
            None if dx is None else dx * scale.to(dx.dtype),
            None if dweight is None else (dweight * scale.to(dweight.dtype)).to(ctx.dtype),
            None,
            None,
            None,
        )


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def linear_cross_entropy(
    x: Float[Tensor, "rows d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, " rows"],
    ignore_index: int = -100,
) -> Float[Tensor, ""]:
    """Return the sum over the rows of -log softmax(x W^T)[target]; rows whose target is `ignore_index` have weight 0.

    Matmuls run in autocast's dtype where autocast is on. It is the sum, not the mean: callers that split a batch divide
    by the number of targets of the whole batch.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x, weight = (t.to(torch.get_autocast_dtype(device)) for t in (x, weight))
    grad = torch.is_grad_enabled()  # it is always off inside the function
    with torch.autocast(device, enabled=False):
        total: Tensor = _LinearCrossEntropy.apply(x, weight, targets, ignore_index, grad)  # type: ignore[no-untyped-call]
    return total
