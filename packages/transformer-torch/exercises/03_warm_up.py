"""Exercise 3: what does the warm-up do to the peak learning rate?

In Eq. (3), warmup_steps sets two things: when the peak is reached, and how high it is. With `--warmup-steps 1`, neither
`--norm post` nor `--norm pre` learns the dates. Compute the peak, and the `--lr-scale` that keeps it when warmup_steps
changes. Then find the one at which pre-norm learns.

Fill in `peak` and `same_peak_scale`, then run this file.
"""

from __future__ import annotations

import math

from transformer_torch.training.optim import NoamSchedule


def peak(d_model: int, warmup_steps: int) -> float:
    """Return the largest learning rate of Eq. (3)."""
    raise NotImplementedError("exercise 3: peak")


def same_peak_scale(old_warmup_steps: int, new_warmup_steps: int) -> float:
    """Return the factor lr_scale with which the new warm-up has the peak of the old one."""
    raise NotImplementedError("exercise 3: same_peak_scale")


def check() -> None:
    """Raise AssertionError unless both equal the largest value of the schedule."""
    for d_model, warmup_steps in ((512, 4000), (128, 300), (64, 1)):
        schedule = NoamSchedule(d_model=d_model, warmup_steps=warmup_steps)
        largest = max(schedule(step) for step in range(1, 2 * warmup_steps + 2))
        found = float(peak(d_model, warmup_steps))
        sizes = f"d_model {d_model}, warmup_steps {warmup_steps}"
        assert math.isclose(found, largest, rel_tol=1e-9), f"{sizes}: the peak is {largest:.6f}, got {found:.6f}"
    for old, new in ((300, 1), (4000, 1000), (10, 40)):
        right = NoamSchedule(d_model=64, warmup_steps=old)(old) / NoamSchedule(d_model=64, warmup_steps=new)(new)
        found = float(same_peak_scale(old, new))
        assert math.isclose(found, right, rel_tol=1e-9), (
            f"from {old} to {new} steps: lr_scale {right:.4f}, got {found:.4f}"
        )


if __name__ == "__main__":
    check()
    print("exercise 3: correct")
