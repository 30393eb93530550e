"""The learning rate and the optimizers (section 5.3).

Adam is the paper's optimizer. Muon (Jordan et al. 2024) learns a small text in fewer steps: it orthogonalizes the
momentum of each matrix, so that an update is not dominated by a few directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from transformer_torch._common.errors import check_integer, check_positive, invalid
from transformer_torch._common.muon import Muon
from transformer_torch.config import TrainConfig
from transformer_torch.model import Transformer


@dataclass(frozen=True)
class NoamSchedule:
    """lr = lr_scale * d_model^-0.5 * min(step^-0.5, step * warmup_steps^-1.5).   (Eq. 3)

    A step is one optimizer step, not one batch: they differ with accumulated gradients. Two options that the paper
    does not have help in short runs: the learning rate stays at its peak for `stable_steps` after the warm-up, and
    in the last `decay_steps` of `steps` it is scaled linearly to zero.

    >>> schedule = NoamSchedule(d_model=512, warmup_steps=4000)
    >>> f"{schedule(4000):.6f} {schedule(16000):.6f}"
    '0.000699 0.000349'
    """

    d_model: int
    warmup_steps: int = 4000
    lr_scale: float = 1.0
    steps: int | None = None
    stable_steps: int = 0
    decay_steps: int = 0

    def __post_init__(self) -> None:
        check_integer("d_model", self.d_model, 1)
        check_integer("warmup_steps", self.warmup_steps, 1)
        check_positive("lr_scale", self.lr_scale)
        check_integer("stable_steps", self.stable_steps, 0)
        check_integer("decay_steps", self.decay_steps, 0)
        if self.decay_steps and (self.steps is None or self.decay_steps > self.steps):
            raise invalid("decay_steps", f"be at most `steps` = {self.steps}", self.decay_steps)

    def __call__(self, step: int) -> float:
        """Return the learning rate of optimizer step `step`, counted from 1."""
        check_integer("step", step, 1)
        past_peak = max(min(step, self.warmup_steps), step - self.stable_steps)
        lr: float = self.lr_scale * self.d_model**-0.5 * min(past_peak**-0.5, step * self.warmup_steps**-1.5)
        if self.decay_steps and self.steps is not None:
            lr *= min(1.0, max(0, self.steps - step + 1) / (self.decay_steps + 1))
        return lr


def make_schedule(config: TrainConfig, d_model: int) -> NoamSchedule:
    """Return the learning-rate schedule of a run."""
    return NoamSchedule(
        d_model, config.warmup_steps, config.lr_scale, config.steps, config.stable_steps, config.decay_steps
    )


def make_optimizers(model: Transformer, config: TrainConfig, dtype: torch.dtype) -> list[Optimizer]:
    """Return the optimizers of a run: Adam alone, or Muon for the matrices of the layers and Adam for the rest.

    dtype: the autocast dtype; Muon computes in bfloat16 if it is, else in float32. The caller sets the learning rate
    before each step.
    """
    matrices: list[Tensor] = []
    if config.optimizer == "muon":
        stacks = (model.encoder, model.decoder)
        matrices = [p for stack in stacks for p in stack.parameters() if p.dim() == 2]
    muon = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in muon]
    fused = others[0].device.type in ("cpu", "cuda")
    found: list[Optimizer] = [Adam(others, lr=0.0, betas=(0.9, config.beta2), eps=1e-9, fused=fused)]
    if matrices:
        found.append(Muon(matrices, 0.0, scale="rms", dtype=dtype if dtype == torch.bfloat16 else torch.float32))
    return found
