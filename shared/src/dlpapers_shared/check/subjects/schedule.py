"""Check the warm-up schedule: Attention Is All You Need (1706.03762), Eq. (3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlpapers_shared._common.errors import check_integer
from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import Array, backend_of, to_array
from dlpapers_shared.check.engine import Case, mistakes
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import bind, name_of

FORMULA = "d_model^-0.5 · min(step^-0.5, step · warmup_steps^-1.5)"

MISTAKES = mistakes(
    warmup={
        "-0.5": "warm-up exponent: warmup_steps^-0.5 instead of warmup_steps^-1.5",
        "-1": "warm-up exponent: warmup_steps^-1 instead of warmup_steps^-1.5",
        "1.5": "the sign of the exponent of warmup_steps is missing",
        "none": "no warm-up: the learning rate starts at its peak",
    },
    decay={
        "max": "max instead of min of the two terms",
        "-1": "decay with 1/step instead of 1/√step",
        "constant": "no decay after the warm-up",
        "none": "the warm-up never ends",
    },
    width={
        "none": "the factor d_model^-0.5 is left out",
        "0.5": "multiplied by √d_model instead of divided by it",
        "-1": "divided by d_model instead of √d_model",
    },
    shift={
        "-1": "the schedule lags by a step: step must count from 1",
        "1": "the schedule is one step ahead: step + 1 is used",
    },
)


def reference(
    step: int, d_model: int, warmup_steps: int, *, warmup: str = "", decay: str = "", width: str = "", shift: str = ""
) -> Array:
    """Return the learning rate of a step, counted from 1, or with switches what a common mistake computes."""
    number = float(step) + float(shift or 0)
    with np.errstate(all="ignore"):
        falling = np.float64(number) ** float(decay if decay == "-1" else -0.5)
        rising = number * float(warmup_steps) ** float(warmup if warmup not in ("", "none") else -1.5)
    if decay == "-1":  # the two terms meet at the end of the warm-up
        falling = falling * warmup_steps**0.5
    if decay == "constant":
        falling = np.float64(warmup_steps**-0.5)
    value = max(falling, rising) if decay == "max" else min(falling, rising)
    value = falling if warmup == "none" else (rising if decay == "none" else value)
    factor = 1.0 if width == "none" else d_model ** float(width or -0.5)
    return np.asarray(factor * value)


def schedule(implementation: Any, *, d_model: int = 512, warmup_steps: int = 4000) -> Report:
    """Compare a learning-rate schedule with Eq. (3): d_model^-0.5 · min(step^-0.5, step · warmup_steps^-1.5).

    Args:
        implementation: a function f(step, d_model, warmup_steps) or f(step); step counts from 1.
        d_model, warmup_steps: what f(step) uses; not needed if f takes them.
    Raises: ValueError if the signature is not clear.

    >>> print(*schedule(lambda step: 512**-0.5 * max(step**-0.5, step * 4000**-1.5)).diagnosis)
    This matches a common mistake: max instead of min of the two terms.
    """
    check_integer("d_model", d_model, 1)
    check_integer("warmup_steps", warmup_steps, 1)
    call = bind(implementation, ("step",), ("d_model", "warmup_steps"))
    report = Report("schedule", name_of(implementation), backend_of(implementation))
    own = {
        name: value for name, value in (("d_model", d_model), ("warmup_steps", warmup_steps)) if not call.accepts(name)
    }
    small = {"d_model": 16, "warmup_steps": 4} | own
    usual = {"d_model": 512, "warmup_steps": 4000} | own
    warm = usual["warmup_steps"]
    around = sorted({1, max(1, warm // 2), max(1, warm - 1), warm, warm + 1, 2 * warm, 25 * warm})

    def learner(steps: list[int], **sizes: int) -> Array:
        return np.array([float(to_array(call(step=step, **sizes))) for step in steps])

    def truth(steps: list[int], **arguments: Any) -> Array:
        return np.array([float(reference(step, **arguments)) for step in steps])

    shown = f"d_model {small['d_model']}, warmup_steps {small['warmup_steps']:,}"
    cases = [
        Case(name, {"steps": steps, **sizes}, labels=[f"step {step:,}" for step in steps])
        for name, steps, sizes in (
            (f"steps 1 to 20, {shown}", list(range(1, 21)), small),
            (f"around the peak, d_model {usual['d_model']}, warmup_steps {warm:,}", around, usual),
        )
    ]
    engine.judge(report, cases, learner, truth, MISTAKES, FORMULA, what="learning rate")
    return report
