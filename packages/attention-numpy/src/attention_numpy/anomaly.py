"""Which layer made the NaN? Checks around every layer's forward and backward pass, only while asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from attention_numpy.layer import Layer, Parameter


class AnomalyError(ValueError):
    """A layer made NaN or infinity."""


@contextmanager
def detect_anomaly(model: Layer) -> Iterator[None]:
    """Within it, the first NaN or infinity that a layer of `model` makes raises AnomalyError with the layer's name.

    A layer made it if all that it was given is finite and what it returns is not. Inner layers are checked before those
    that contain them, so the name is the innermost. Costs a pass over every input and output; outside, nothing.
    """
    watched = list(model.named_layers())
    for name, layer in watched:
        title = name or type(layer).__name__
        layer.__dict__["forward"] = checked(layer.forward, f"forward pass of {title}", layer is model)
        layer.__dict__["backward"] = checked(layer.backward, f"backward pass of {title}", layer is model, layer)
    try:
        yield
    finally:
        for _, layer in watched:
            del layer.__dict__["forward"], layer.__dict__["backward"]


def finite(values: Iterable[Any]) -> bool:
    """Whether all arrays among the values are free of NaN and infinity."""
    return all(np.isfinite(value).all() for value in values if isinstance(value, np.ndarray))


def checked(method: Callable[..., Any], where: str, outermost: bool, layer: Layer | None = None) -> Callable[..., Any]:
    """The method, and a look at what it was given, what it returned and, where a layer is given, its own gradients."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        sound = finite([*arguments, *keywords.values()])
        if outermost and not sound:
            raise AnomalyError(f"anomaly: NaN or infinity in the input of the {where}")
        try:
            result = method(*arguments, **keywords)
        except FloatingPointError as error:
            raise AnomalyError(f"anomaly: {error} in the {where}") from error
        if sound and not finite(result if isinstance(result, tuple) else [result]):
            raise AnomalyError(f"anomaly: NaN or infinity in the output of the {where}")
        if sound and layer is not None:
            for key, value in vars(layer).items():
                if isinstance(value, Parameter) and not finite([value.grad]):
                    raise AnomalyError(f"anomaly: NaN or infinity in the gradient of {key} in the {where}")
        return result

    return call
