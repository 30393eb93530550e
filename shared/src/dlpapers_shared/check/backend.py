"""NumPy arrays and torch tensors: which of them an implementation takes, and how to convert in both directions."""

from __future__ import annotations

import copy
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Backend = Literal["NumPy", "torch"]


def is_module(target: Any) -> bool:
    """Return whether an object is a torch module. torch is not imported for this."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(target, torch.nn.Module)


def is_module_class(target: Any) -> bool:
    """Return whether an object is a class of torch modules."""
    torch = sys.modules.get("torch")
    return torch is not None and inspect.isclass(target) and issubclass(target, torch.nn.Module)


def backend_of(target: Any) -> Backend:
    """Return torch for a torch module, and for a function whose source file or notebook imports torch; else NumPy."""
    torch = sys.modules.get("torch")
    if torch is None:
        return "NumPy"
    if is_module(target):
        return "torch"
    function = inspect.unwrap(target) if callable(target) else target
    function = getattr(function, "func", function)  # functools.partial
    if not hasattr(function, "__code__"):
        kind = function if inspect.isclass(function) else type(function)
        function = next((m for m in (getattr(kind, n, None) for n in ("forward", "__call__", "step")) if m), function)
    code, scope = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    if code is None:
        return "torch" if str(getattr(function, "__module__", "")).startswith("torch") else "NumPy"
    used = [scope.get(name) for name in names_in(code)]
    if any(value is np or _from(value, "numpy") for value in used):
        return "NumPy"
    if any(value is torch or _from(value, "torch") for value in used):
        return "torch"
    values = scope.values()  # nothing but operators, such as `q @ k`: what the file imports decides
    return "torch" if torch in values and np not in values else "NumPy"


def imports_torch(target: Any) -> bool:
    """Return whether the file or notebook that defines a function has imported torch."""
    torch = sys.modules.get("torch")
    scope = getattr(inspect.unwrap(target) if callable(target) else target, "__globals__", {})
    return torch is not None and any(value is torch or _from(value, "torch") for value in scope.values())


def settle(target: Any, run: Callable[[Backend], Any]) -> Backend:
    """Return `backend_of` a function; torch instead of NumPy if the function runs with tensors only.

    run: calls the function once with arrays of one kind; whatever it raises counts as "does not run".
    """
    backend = backend_of(target)
    if backend == "torch" or not imports_torch(target):
        return backend
    kinds: tuple[Backend, ...] = ("NumPy", "torch")
    for kind in kinds:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                run(kind)
        except Exception:
            continue
        return kind
    return backend


def names_in(code: Any) -> Iterator[str]:
    """Yield the global names that a function uses, those of its inner functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from names_in(constant)


def _from(value: Any, library: str) -> bool:
    name = getattr(value, "__name__", "") if inspect.ismodule(value) else getattr(value, "__module__", "")
    return str(name or "").partition(".")[0] == library


def to_backend(value: Any, backend: Backend, *, gradients: bool = False) -> Any:
    """Return a copy of an array for the implementation; a tensor for torch. Other values are returned unchanged."""
    if not isinstance(value, np.ndarray):
        return value
    if backend == "NumPy":
        return value.copy()
    import torch

    tensor = torch.from_numpy(value.copy())
    return tensor.requires_grad_() if gradients and tensor.is_floating_point() else tensor


def to_array(value: Any) -> Array:
    """Return a result as an array. Raises TypeError if it is none: the caller reports that."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.double() if str(value.dtype) == "torch.bfloat16" else value
        return np.asarray(value.numpy())
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind in "USV":
        raise TypeError(f"returns {type(value).__name__}, must return an array or a tensor")
    return array


def double_copy(module: Any, dtype: str = "float64") -> Any:
    """Return a copy of a torch module in evaluation mode, so that the caller's own module stays as it is."""
    import torch

    return copy.deepcopy(module).to(getattr(torch, dtype)).eval()


def named_arrays(target: Any) -> dict[str, Any]:
    """Return the parameters of a torch module, or the float arrays that an object and its attributes hold, by path.

    A parameter that two layers share is listed once. Gradients are left out.
    """
    if is_module(target):
        return dict(target.named_parameters())
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def visit(value: Any, path: str, depth: int) -> None:
        if id(value) in seen or depth > 4:
            return
        if isinstance(value, np.ndarray):
            if value.dtype.kind == "f" and value.ndim in (1, 2, 3) and value.size:
                seen.add(id(value))
                found[path] = value
        elif isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                visit(item, f"{path}.{key}" if path else str(key), depth + 1)
        elif (
            hasattr(value, "__dict__") and not callable(getattr(value, "__code__", None)) and not inspect.isclass(value)
        ):
            seen.add(id(value))
            for key, item in vars(value).items():
                if "grad" not in key and not key.startswith("__"):
                    visit(item, f"{path}.{key}" if path else key, depth + 1)

    visit(target, "", 0)
    return found


def fill(parameter: Any, values: Array) -> None:
    """Overwrite a parameter or an array in place."""
    if hasattr(parameter, "detach"):
        import torch

        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))
    else:
        parameter[...] = values
