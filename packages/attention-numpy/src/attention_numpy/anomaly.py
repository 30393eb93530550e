"""Find the module that first produced a NaN or infinity: opt-in checks around every forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from attention_numpy._common.errors import DivergenceError
from attention_numpy.module import Module, Parameter


class AnomalyError(DivergenceError):
    """Raised when a module produces NaN or infinity. The message names the module."""


@contextmanager
def detect_anomaly(model: Module) -> Iterator[None]:
    """Inside the block, raise AnomalyError when a module of `model` produces the first NaN or infinity.

    A module produced it if all its inputs are finite and an output is not. Inner modules are checked before those that
    contain them, so the error names the innermost. Costs a pass over every input and output.
    """
    watched = list(model.named_modules())
    for name, module in watched:
        title = name or type(module).__name__
        module.__dict__["forward"] = checked(module.forward, f"forward pass of {title}", module is model)
        module.__dict__["backward"] = checked(module.backward, f"backward pass of {title}", module is model, module)
    try:
        yield
    finally:
        for _, module in watched:
            del module.__dict__["forward"], module.__dict__["backward"]


def finite(values: Iterable[Any]) -> bool:
    """Return whether all arrays among the values are free of NaN and infinity."""
    return all(np.isfinite(value).all() for value in values if isinstance(value, np.ndarray))


def checked(
    method: Callable[..., Any], where: str, outermost: bool, module: Module | None = None
) -> Callable[..., Any]:
    """Wrap a method with checks of its inputs, its outputs and, where a module is given, its parameters' gradients."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        inputs_finite = finite([*arguments, *keywords.values()])
        if outermost and not inputs_finite:
            raise AnomalyError(f"NaN or infinity in the input of the {where}")
        try:
            result = method(*arguments, **keywords)
        except FloatingPointError as error:
            raise AnomalyError(f"{error} in the {where}") from error
        if inputs_finite and not finite(result if isinstance(result, tuple) else [result]):
            raise AnomalyError(f"NaN or infinity in the output of the {where}")
        if inputs_finite and module is not None:
            for key, value in vars(module).items():
                if isinstance(value, Parameter) and not finite([value.grad]):
                    raise AnomalyError(f"NaN or infinity in the gradient of {key} in the {where}")
        return result

    return call
