"""Which layer made the NaN? Checks after every layer's forward and backward pass, only while asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from attention_numpy.layer import Layer, Parameter


class AnomalyError(ValueError):
    """A layer made NaN or infinity."""


@contextmanager
def detect_anomaly(model: Layer) -> Iterator[None]:
    """Within it, the first NaN or infinity that a layer of `model` makes raises AnomalyError with the layer's name.

    Inner layers are checked before those that contain them, so the name is the innermost. Costs a pass over every
    output; outside, nothing.
    """
    watched = list(model.named_layers())
    for name, layer in watched:
        title = name or type(layer).__name__
        layer.__dict__["forward"] = checked(layer.forward, f"forward pass of {title}", None)
        layer.__dict__["backward"] = checked(layer.backward, f"backward pass of {title}", layer)
    try:
        yield
    finally:
        for _, layer in watched:
            del layer.__dict__["forward"], layer.__dict__["backward"]


def checked(method: Callable[..., Any], where: str, layer: Layer | None) -> Callable[..., Any]:
    """The method, and after it a look at what it returned and, where a layer is given, at its own gradients."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        try:
            result = method(*arguments, **keywords)
        except FloatingPointError as error:
            raise AnomalyError(f"anomaly: {error} in the {where}") from error
        for value in result if isinstance(result, tuple) else (result,):
            if isinstance(value, np.ndarray) and not np.isfinite(value).all():
                raise AnomalyError(f"anomaly: NaN or infinity in the output of the {where}")
        if layer is not None:
            for key, parameter in vars(layer).items():
                if isinstance(parameter, Parameter) and not np.isfinite(parameter.grad).all():
                    raise AnomalyError(f"anomaly: NaN or infinity in the gradient of {key} in the {where}")
        return result

    return call
