"""Label smoothing (section 5.4), with its definition named: three are in use, and they are not the same loss.

Let V be the number of classes, y the right one, eps the smoothing. The target distribution q is

    torch      q(y) = 1 - eps + eps/V     every other class: eps/V
    fairseq    q(y) = 1 - eps             every other class: eps/(V-1)
    annotated  q(y) = 1 - eps             every other class but padding: eps/(V-2); padding: 0

and the loss of a token is the cross-entropy -sum(q log p); for `annotated` it is KL(q || p), as in the Annotated
Transformer, which is smaller by the entropy of q and has the same gradient. Positions whose target is padding count
for nothing.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Mode = Literal["torch", "fairseq", "annotated"]


def target_distribution(mode: Mode, eps: float, vocab_size: int) -> tuple[float, float, float, float]:
    """q of the right class, q of every other, q of padding, and what to add to the cross-entropy."""
    least = {"torch": 1, "fairseq": 2, "annotated": 3}
    if mode not in least:
        raise ValueError(f"mode: {mode!r} is none of {', '.join(least)}")
    if not 0 <= eps < 1:
        raise ValueError(f"eps: {eps} is not at least 0 and below 1")
    if vocab_size < least[mode]:
        raise ValueError(f"vocab_size: {vocab_size} classes; mode {mode!r} needs {least[mode]}")
    if mode == "torch":
        return 1 - eps + eps / vocab_size, eps / vocab_size, eps / vocab_size, 0.0
    if mode == "fairseq":
        return 1 - eps, eps / (vocab_size - 1), eps / (vocab_size - 1), 0.0
    other = eps / (vocab_size - 2)
    minus_entropy = (1 - eps) * math.log(1 - eps) + (eps * math.log(other) if eps > 0 else 0.0)
    return 1 - eps, other, 0.0, minus_entropy


class LabelSmoothing(nn.Module):
    """Mean (or sum) over the tokens of the smoothed loss; zero, not NaN, where there is no token.

    >>> LabelSmoothing(eps=0.1)(torch.zeros(1, 2, 5), torch.tensor([[3, 0]]))  # log(5): the padding does not count
    tensor(1.6094)
    """

    def __init__(
        self, eps: float = 0.1, mode: Mode = "torch", pad_id: int = 0, reduction: Literal["mean", "sum"] = "mean"
    ) -> None:
        super().__init__()
        target_distribution(mode, eps, 3)
        self.eps, self.mode, self.pad_id, self.reduction = eps, mode, pad_id, reduction

    def forward(self, logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"]) -> Float[Tensor, ""]:
        """logits of every position, ids of the right classes."""
        right, other, padding, constant = target_distribution(self.mode, self.eps, logits.size(-1))
        counted = targets != self.pad_id  # chosen, not multiplied by zero: 0 * inf is NaN
        logits, targets = logits[counted], targets[counted]
        log_p = logits.float().log_softmax(-1) if logits.dtype != torch.float64 else logits.log_softmax(-1)
        log_p_right = log_p.gather(-1, targets[:, None])[:, 0]
        log_p_padding = log_p[:, self.pad_id]
        log_p_rest = log_p.sum(-1) - log_p_right - log_p_padding
        loss = constant - right * log_p_right - other * log_p_rest - padding * log_p_padding
        return loss.sum() if self.reduction == "sum" else loss.sum() / max(1, loss.numel())
