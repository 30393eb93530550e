"""Solution of exercise 3: the peak is (d_model · warmup_steps)^-0.5, so fewer steps mean a higher peak."""


def peak(d_model: int, warmup_steps: int) -> float:
    """The two terms of Eq. (3) meet at step = warmup_steps."""
    return (d_model * warmup_steps) ** -0.5


def same_peak_scale(old_warmup_steps: int, new_warmup_steps: int) -> float:
    """With 1 step instead of 300, the learning rate must be scaled by 1/17."""
    return (new_warmup_steps / old_warmup_steps) ** 0.5


WRONG = [
    {"peak": lambda d_model, warmup_steps: d_model**-0.5},
    {"same_peak_scale": lambda old_warmup_steps, new_warmup_steps: (old_warmup_steps / new_warmup_steps) ** 0.5},
]
