"""The training objective."""
# Replace: the loss of your paper.

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def cross_entropy(logits: Float[Tensor, "batch vocab"], targets: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Return the mean of log(sum(exp(logits))) - logits[target], in nats.

    Low-precision logits are converted to float32, because the sum would lose small probabilities.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    chosen = logits.gather(1, targets[:, None])[:, 0]
    return (torch.logsumexp(logits, dim=1) - chosen).mean()
