"""Label smoothing (section 5.4). Three definitions are in use, and their losses differ.

Let V be the number of classes, y the target class, eps the smoothing. The target distribution q is

    torch      q(y) = 1 - eps + eps/V     every other class: eps/V
    fairseq    q(y) = 1 - eps             every other class: eps/(V-1)
    annotated  q(y) = 1 - eps             every other class but padding: eps/(V-2); padding: 0

The loss of a token is the cross-entropy -sum(q log p). For `annotated` it is KL(q || p), as in the Annotated
Transformer, which is smaller by the entropy of q and has the same gradient. Positions whose target is padding are
ignored.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_torch._common.errors import check_choice, check_fraction, check_integer
from transformer_torch.config import SmoothingMode

LEAST_CLASSES = {"torch": 1, "fairseq": 2, "annotated": 3}


def target_distribution(mode: SmoothingMode, eps: float, vocab_size: int) -> tuple[float, float, float, float]:
    """Return q of the target class, q of every other, q of padding, and what to add to the cross-entropy."""
    check_choice("mode", mode, LEAST_CLASSES)
    check_fraction("label_smoothing", eps)
    check_integer("vocab_size", vocab_size, LEAST_CLASSES[mode])
    if mode == "torch":
        return 1 - eps + eps / vocab_size, eps / vocab_size, eps / vocab_size, 0.0
    if mode == "fairseq":
        return 1 - eps, eps / (vocab_size - 1), eps / (vocab_size - 1), 0.0
    other = eps / (vocab_size - 2)
    minus_entropy = (1 - eps) * math.log(1 - eps) + (eps * math.log(other) if eps > 0 else 0.0)
    return 1 - eps, other, 0.0, minus_entropy


class LabelSmoothing(nn.Module):
    """Mean or sum of the smoothed losses of all tokens; zero, not NaN, for a batch without a token.

    >>> LabelSmoothing(0.1)(torch.zeros(1, 2, 5), torch.tensor([[3, 0]]))  # log(5): padding is ignored
    tensor(1.6094)
    """

    def __init__(
        self,
        label_smoothing: float = 0.1,
        mode: SmoothingMode = "torch",
        pad_id: int = 0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        target_distribution(mode, label_smoothing, 3)
        check_choice("reduction", reduction, ("mean", "sum"))
        self.label_smoothing, self.mode, self.pad_id, self.reduction = label_smoothing, mode, pad_id, reduction

    def forward(self, logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"]) -> Float[Tensor, ""]:
        """Return the loss. logits: of every position; targets: ids of the target classes."""
        right, other, padding, constant = target_distribution(self.mode, self.label_smoothing, logits.size(-1))
        counted = targets != self.pad_id  # selected, not multiplied by zero, because 0 * inf is NaN
        logits, targets = logits[counted], targets[counted]
        log_p = logits.float().log_softmax(-1) if logits.dtype != torch.float64 else logits.log_softmax(-1)
        log_p_right = log_p.gather(-1, targets[:, None])[:, 0]
        loss = constant - right * log_p_right
        if other or padding:  # skipped without smoothing, because 0 * log(0) is NaN
            log_p_padding = log_p[:, self.pad_id]
            log_p_rest = log_p.sum(-1) - log_p_right - log_p_padding
            loss = loss - other * log_p_rest - padding * log_p_padding
        return loss.sum() if self.reduction == "sum" else loss.sum() / max(1, loss.numel())
