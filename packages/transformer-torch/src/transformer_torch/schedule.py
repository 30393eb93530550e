"""The learning rate of section 5.3."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NoamSchedule:
    """lr = factor * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5)   — Eq. (3).

    A step is one update of the optimizer, not one batch: with accumulated gradients they differ. Two things that the
    paper does not do gain much in short runs: with `decay` above 0 the last `decay` of `total` steps lead linearly
    down to zero, and with `hold` the rate stays until then at its highest, the one at the end of the warm-up.

    >>> schedule = NoamSchedule(d_model=512, warmup=4000)
    >>> f"{schedule(4000):.6f} {schedule(16000):.6f}"
    '0.000699 0.000349'
    """

    d_model: int
    warmup: int = 4000
    factor: float = 1.0
    total: int | None = None
    decay: int = 0
    hold: bool = False

    def __post_init__(self) -> None:
        if self.warmup < 1:
            raise ValueError(f"warmup: {self.warmup} steps; at least 1")
        if self.decay and (self.total is None or not 0 < self.decay <= self.total):
            raise ValueError(f"decay: {self.decay} steps do not fit into total={self.total}")

    def __call__(self, step: int) -> float:
        """The rate of update `step`, counted from 1."""
        if step < 1:
            raise ValueError(f"step: {step}; the first update is step 1")
        falling = (self.warmup if self.hold else step) ** -0.5
        rate: float = self.factor * self.d_model**-0.5 * min(falling, step * self.warmup**-1.5)
        if self.decay and self.total is not None:
            rate *= min(1.0, max(0, self.total - step + 1) / (self.decay + 1))
        return rate
