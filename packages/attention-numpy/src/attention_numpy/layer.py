"""What every layer has: parameters with gradients, and a stack of what its backward pass needs.

A layer's `forward` pushes onto the stack, its `backward` pops. So a layer that is used twice in one model is right
by construction: the last use is the first to be undone. In evaluation mode (`eval()`) nothing is kept.

Contract of every `forward` and `backward` here: inputs are never changed, unless the caller passes `out=`.
Gradients of parameters are added to `parameter.grad`; the gradient of the input is returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DType = npt.DTypeLike


class BackwardError(ValueError):
    """`backward` was called with no forward pass left to undo."""


class Parameter:
    """An array that is learned, and its gradient, to which every backward pass adds."""

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad = np.zeros_like(data)
        self.in_vector = False


class ParameterVector:
    """All parameters of a model as one flat vector, all gradients as another; each `Parameter` is a view into them.

    Zeroing, clipping, an optimizer's step and saving are then one line each. A parameter that stands under several
    names (tied embeddings) is stored once.
    """

    def __init__(self, named: Mapping[str, Parameter]) -> None:
        self.named = dict(named)
        unique = list({id(p): p for p in self.named.values()}.values())
        if any(p.in_vector for p in unique):
            raise ValueError("parameters: they belong to a larger model already; take that model's parameters()")
        dtypes = {p.data.dtype for p in unique} or {np.dtype(np.float32)}
        if len(dtypes) > 1:
            raise ValueError(f"parameters: {' and '.join(sorted(map(str, dtypes)))} met, one dtype is needed")
        self.data: Array = np.empty(sum(p.data.size for p in unique), dtypes.pop())
        self.grad: Array = np.zeros_like(self.data)
        start = 0
        for parameter in unique:
            shape, stop = parameter.data.shape, start + parameter.data.size
            self.data[start:stop] = parameter.data.reshape(-1)
            self.grad[start:stop] = parameter.grad.reshape(-1)
            parameter.data = self.data[start:stop].reshape(shape)
            parameter.grad = self.grad[start:stop].reshape(shape)
            parameter.in_vector = True
            start = stop

    def __len__(self) -> int:
        """The number of scalars that are learned."""
        return self.data.size

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        self.grad.fill(0)

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter by name."""
        return {name: p.data.copy() for name, p in self.named.items()}

    def grad_dict(self) -> dict[str, Array]:
        """A copy of every gradient by name. Names that share one parameter show the same, summed, gradient."""
        return {name: p.grad.copy() for name, p in self.named.items()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Set every parameter. ValueError, and nothing changed, unless names and shapes fit and all is finite."""
        lacking, unknown = sorted(set(self.named) - set(state)), sorted(set(state) - set(self.named))
        if lacking or unknown:
            found = f"lacks {lacking[0]}" if lacking else f"holds {unknown[0]}, which this model has not"
            raise ValueError(f"state: the checkpoint {found}; it belongs to another configuration")
        arrays = {name: np.asarray(state[name]) for name in self.named}
        for name, parameter in self.named.items():
            if arrays[name].shape != parameter.data.shape:
                met = f"{name} has shape {arrays[name].shape}, this model's has {parameter.data.shape}"
                raise ValueError(f"state: {met}; the checkpoint belongs to another configuration")
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"state: {name} holds NaN or infinity")
            first = next(n for n, p in self.named.items() if p is parameter)
            if not np.array_equal(arrays[name], arrays[first]):
                raise ValueError(f"state: {name} and {first} are tied in this model, but differ in the checkpoint")
        for name, parameter in self.named.items():
            parameter.data[...] = arrays[name]


class Layer:
    """Base of every layer. Sub-layers and parameters are found among the attributes, in the order they were set."""

    name = ""  # where the layer stands in its model, in messages and among the recorded intermediates
    inline: ClassVar[bool] = False  # True: its parts are named as if they were its parent's own

    def __init__(self) -> None:
        self.training = True
        self._stack: list[tuple[Any, ...]] = []
        self._vector: ParameterVector | None = None

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """The forward pass."""
        return self.forward(*arguments, **keywords)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Compute the output; in training mode, keep what `backward` needs."""
        raise NotImplementedError

    def backward(self, *arguments: Any, **keywords: Any) -> Any:
        """From the gradient of the output: add to the parameters' gradients, return the gradient of the input."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------ what backward needs

    def keep(self, *values: Any) -> None:
        """Push what the backward pass needs; in evaluation mode, nothing."""
        if self.training:
            self._stack.append(values)

    def kept(self) -> tuple[Any, ...]:
        """Pop what the latest forward pass kept that was not undone yet."""
        if not self._stack:
            raise BackwardError(
                f"backward: {self.name or type(self).__name__} has no forward pass left to undo; "
                "call it once in training mode before each backward"
            )
        return self._stack.pop()

    def forget(self) -> None:
        """Drop what all forward passes kept: to train on after one that had no backward."""
        for _, layer in self.named_layers():
            layer._stack.clear()

    # ---------------------------------------------------------------------------------- the tree of sub-layers

    def named_children(self) -> Iterator[tuple[str, Layer]]:
        """The direct sub-layers; those in a list are named by their number."""
        for key, value in vars(self).items():
            if isinstance(value, Layer):
                yield key, value
            elif isinstance(value, list) and not key.startswith("_"):
                yield from ((f"{key}.{i}", item) for i, item in enumerate(value) if isinstance(item, Layer))

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """This layer and all below it, with their names."""
        yield prefix.removesuffix("."), self
        for key, child in self.named_children():
            yield from child.named_layers(prefix if child.inline else f"{prefix}{key}.")

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter below this layer; one that is tied comes once per name."""
        for name, layer in self.named_layers():
            for key, value in vars(layer).items():
                if isinstance(value, Parameter):
                    yield f"{name}.{key}".removeprefix("."), value

    def parameters(self) -> ParameterVector:
        """The parameters as one vector, made at the first call."""
        if self._vector is None:
            self._vector = ParameterVector(dict(self.named_parameters()))
        return self._vector

    def name_layers(self) -> None:
        """Tell every layer below this one where it stands."""
        for name, layer in self.named_layers():
            layer.name = name

    def train(self, mode: bool = True) -> Self:
        """Training mode: dropout is on and forward passes keep what backward needs."""
        for _, layer in self.named_layers():
            layer.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: no dropout, nothing is kept."""
        return self.train(False)


def check_input(name: str, x: Any, dtype: np.dtype[Any], width: int) -> None:
    """ValueError unless x is of the parameters' dtype and its rows have the width they need."""
    if not isinstance(x, np.ndarray) or x.dtype != dtype:
        met = getattr(x, "dtype", type(x).__name__)
        raise ValueError(f"{name}: {met} met, but the parameters are {dtype}; mixed dtypes would promote silently")
    if x.ndim < 1 or x.shape[-1] != width:
        raise ValueError(f"{name}: shape {x.shape} met, the last axis must be {width}")


def check_gradient(dy: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """ValueError unless dy fits the output that it is the gradient of."""
    if dy.shape != shape or dy.dtype != dtype:
        raise ValueError(f"dy: {dy.dtype} of shape {dy.shape} met, the output was {dtype} of shape {shape}")
