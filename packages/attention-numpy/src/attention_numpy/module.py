"""Base classes: parameters with gradients, and modules that save what their backward pass needs.

`forward` pushes the values that `backward` needs onto a stack, and `backward` pops them. So a module that is used twice
in one model is correct by construction: the last use is undone first. In evaluation mode (`eval()`) nothing is saved.

Contract of every `forward` and `backward` in this package: inputs are never changed, unless the caller passes `out=`.
Gradients of parameters are added to `parameter.grad`; the gradient of the input is returned.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DType = npt.DTypeLike
Intermediates = dict[str, Array]  # attention weights by the name of the module that computed them


class BackwardError(ValueError):
    """Raised when `backward` is called without a forward pass that has not been backpropagated."""


class Parameter:
    """An array to learn, and its gradient, to which every backward pass adds.

    Assigning to `data` or `grad` copies the values in place, because both may be views into a ParameterVector.
    A copy (`copy.deepcopy`, pickle) has arrays of its own.
    """

    def __init__(self, data: Array) -> None:
        if getattr(data, "dtype", None) not in (np.float32, np.float64):
            raise ValueError(
                f"a parameter must be a float32 or float64 array, got {getattr(data, 'dtype', type(data).__name__)}"
            )
        self._data = data
        self._grad: Array = np.zeros_like(data)
        self._in_vector = False

    @property
    def data(self) -> Array:
        """The values."""
        return self._data

    @data.setter
    def data(self, value: npt.ArrayLike) -> None:
        _copy_into(self._data, value, "data")

    @property
    def grad(self) -> Array:
        """The gradient of the loss, of the same shape."""
        return self._grad

    @grad.setter
    def grad(self, value: npt.ArrayLike) -> None:
        _copy_into(self._grad, value, "grad")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored_parameter, (self._data.copy(), self._grad.copy())

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        memo[id(self)] = copied = _restored_parameter(self._data.copy(), self._grad.copy())
        return copied


def _restored_parameter(data: Array, grad: Array) -> Parameter:
    parameter = Parameter(data)
    parameter._grad = grad
    return parameter


def _copy_into(target: Array, value: npt.ArrayLike, name: str) -> None:
    """Copy values into an array of the same shape."""
    if value is target:  # what `parameter.data += x` assigns
        return
    source = np.asarray(value)
    if source.shape != target.shape or source.dtype.kind not in "fiu":
        raise ValueError(
            f"`{name}` must be a real array of shape {target.shape}, got {source.dtype} of shape {source.shape}. "
            "Values are copied in place"
        )
    target[...] = source


class ParameterVector:
    """All parameters of a model as one flat vector, all gradients as another; each `Parameter` is a view into them.

    Zeroing, clipping, an optimizer step and saving are then one line each. A parameter with several names (tied
    embeddings) is stored once.
    """

    def __init__(self, named: Mapping[str, Parameter]) -> None:
        self.named = dict(named)
        self._module: weakref.ref[Module] | None = None
        self._checked = Module.assignments
        unique = list({id(p): p for p in self.named.values()}.values())
        if any(p._in_vector for p in unique):
            raise ValueError("these parameters belong to a larger model. Use that model's parameters()")
        dtypes = {p.data.dtype for p in unique} or {np.dtype(np.float32)}
        if len(dtypes) > 1:
            raise ValueError(f"the parameters must have one dtype, got {' and '.join(sorted(map(str, dtypes)))}")
        self._data: Array = np.empty(sum(p.data.size for p in unique), dtypes.pop())
        self._grad: Array = np.zeros_like(self._data)
        start = 0
        for parameter in unique:
            shape, stop = parameter.data.shape, start + parameter.data.size
            self._data[start:stop] = parameter.data.reshape(-1)
            self._grad[start:stop] = parameter.grad.reshape(-1)
            parameter._data = self._data[start:stop].reshape(shape)
            parameter._grad = self._grad[start:stop].reshape(shape)
            parameter._in_vector = True
            start = stop

    def __reduce__(self) -> tuple[Any, ...]:
        return ParameterVector, (self.named,)  # copied parameters have arrays of their own: make them views again

    @property
    def data(self) -> Array:
        """All values, flat."""
        return self._data

    @data.setter
    def data(self, value: npt.ArrayLike) -> None:
        _copy_into(self._data, value, "data")

    @property
    def grad(self) -> Array:
        """All gradients, flat."""
        return self._grad

    @grad.setter
    def grad(self, value: npt.ArrayLike) -> None:
        _copy_into(self._grad, value, "grad")

    def __len__(self) -> int:
        """Return the number of learned scalars, as `Module.num_parameters` does."""
        return self._data.size

    def attach(self, module: Module) -> None:
        """Remember the module whose parameters these are, so that `check` can compare."""
        self._module = weakref.ref(module)

    def check(self) -> None:
        """Raise ValueError if the module's parameters are no longer these.

        That happens when a parameter or a module is replaced after the first call of `parameters()`, for example to tie
        two matrices: the optimizer and `state_dict` would then use the old one.
        """
        count = Module.assignments
        module = self._module() if self._module is not None else None
        now = self.named if module is None else dict(module.named_parameters())
        for name in [*now, *self.named]:
            if now.get(name) is not self.named.get(name):
                raise ValueError(
                    f"`{name}` was replaced after parameters() had been called, so the optimizer would not train it. "
                    "Replace or tie parameters before the first call of parameters(), or in the constructor"
                )
        self._checked = count

    def check_if_assigned(self) -> None:
        """Call `check` if any parameter or module was assigned since the last check: cheap enough for every step."""
        if self._checked != Module.assignments:
            self.check()

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        self._grad.fill(0)

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter by name."""
        self.check()
        return {name: p.data.copy() for name, p in self.named.items()}

    def grad_dict(self) -> dict[str, Array]:
        """Return a copy of every gradient by name. Names that share a parameter have the same, summed, gradient."""
        self.check()
        return {name: p.grad.copy() for name, p in self.named.items()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Set every parameter.

        Raises: ValueError, with nothing changed, unless names and shapes match and all values are finite.
        """
        self.check()
        missing, unknown = sorted(set(self.named) - set(state)), sorted(set(state) - set(self.named))
        if missing or unknown:
            found = f"lacks {missing[0]}" if missing else f"holds {unknown[0]}, which this model does not have"
            raise ValueError(f"the state {found}. It belongs to another configuration")
        arrays = {name: np.asarray(state[name]) for name in self.named}
        for name, parameter in self.named.items():
            if arrays[name].shape != parameter.data.shape or arrays[name].dtype.kind != "f":
                raise ValueError(
                    f"{name} must be a float array of shape {parameter.data.shape}, got {arrays[name].dtype} of shape "
                    f"{arrays[name].shape}. The state belongs to another configuration"
                )
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} must be finite, got NaN or infinity")
            first = next(n for n, p in self.named.items() if p is parameter)
            if not np.array_equal(arrays[name], arrays[first]):
                raise ValueError(f"{name} and {first} are tied in this model, but differ in the state")
        for name, parameter in self.named.items():
            parameter.data = arrays[name]


class Module:
    """Base of every layer and model. Sub-modules and parameters are found among the attributes, in their order."""

    name = ""  # path of the module in its model: in messages, and key of its attention weights
    inline: ClassVar[bool] = False  # True: named_modules leaves out this module's own part of the path, as torch's does
    assignments: ClassVar[int] = 0  # how many parameters and modules were assigned to attributes, anywhere

    def __init__(self) -> None:
        self.training = True
        self._saved: list[tuple[Any, ...]] = []
        self._vector: ParameterVector | None = None

    def __setattr__(self, key: str, value: Any) -> None:
        if isinstance(value, Parameter | Module):
            Module.assignments += 1
        object.__setattr__(self, key, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._vector is not None:
            self._vector.attach(self)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Run the forward pass."""
        return self.forward(*arguments, **keywords)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Compute the output. In training mode, save what `backward` needs."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def backward(self, *arguments: Any, **keywords: Any) -> Any:
        """Take the gradient of the output, add to the parameters' gradients, return the gradient of the input."""
        raise TypeError(f"{type(self).__name__} does not define backward")

    # ------------------------------------------------------------------------------------ values for backward

    def save_for_backward(self, *values: Any) -> None:
        """Push values that the backward pass needs. In evaluation mode, do nothing."""
        if self.training:
            self._saved.append(values)

    def pop_saved(self) -> tuple[Any, ...]:
        """Pop the values of the most recent forward pass that has not been backpropagated.

        Raises: BackwardError if there is none.
        """
        if not self._saved:
            raise BackwardError(
                f"{self.name or type(self).__name__} has no forward pass to backpropagate. "
                "Call it once in training mode before each backward"
            )
        return self._saved.pop()

    def clear_saved(self) -> None:
        """Discard the saved values of all forward passes that were not followed by a backward pass."""
        for _, module in self.named_modules():
            module._saved.clear()

    # ---------------------------------------------------------------------------------- the tree of modules

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the direct sub-modules; those in a list are named by their index."""
        for key, value in vars(self).items():
            if isinstance(value, Module):
                yield key, value
            elif isinstance(value, list) and not key.startswith("_"):
                yield from ((f"{key}.{i}", item) for i, item in enumerate(value) if isinstance(item, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it, with their names."""
        yield prefix.removesuffix("."), self
        for key, child in self.named_children():
            yield from child.named_modules(prefix if child.inline else f"{prefix}{key}.")

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter below this module; a tied one occurs once per name."""
        for name, module in self.named_modules():
            for key, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield f"{name}.{key}".removeprefix("."), value

    def parameters(self) -> ParameterVector:
        """Return the parameters as one vector, which the first call makes.

        Raises: ValueError if a parameter was replaced since then.
        """
        if self._vector is None:
            self._vector = ParameterVector(dict(self.named_parameters()))
            self._vector.attach(self)
        self._vector.check_if_assigned()
        return self._vector

    def num_parameters(self) -> int:
        """Return the number of learned scalars; a tied parameter counts once."""
        return sum(p.data.size for p in {id(p): p for _, p in self.named_parameters()}.values())

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter by name."""
        return self.parameters().state_dict()

    def grad_dict(self) -> dict[str, Array]:
        """Return a copy of every gradient by name."""
        return self.parameters().grad_dict()

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Set every parameter. Raises: ValueError, with nothing changed, if the state does not match the model."""
        self.parameters().load_state_dict(state)

    def name_modules(self) -> None:
        """Set the `name` of every module below this one to its path."""
        for name, module in self.named_modules():
            module.name = name

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode: dropout is on, and forward passes save what backward needs."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to evaluation mode: dropout is off, and nothing is saved."""
        return self.train(False)
