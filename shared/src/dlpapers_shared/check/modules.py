"""Prepare implementations that hold weights: construct them, copy them, fill their parameters with random numbers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlpapers_shared._common.errors import invalid, is_integer
from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import (
    Array,
    Backend,
    backend_of,
    double_copy,
    fill,
    is_module,
    named_arrays,
    to_array,
    to_backend,
)
from dlpapers_shared.check.engine import Case, Mistake
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import ALIASES, Binding, construct, name_of

SIZES: dict[str, Any] = {"d_model": 8, "n_heads": 2, "d_k": 4, "d_ff": 12, "dropout": 0.0, "context_length": 16}
"""What classes are constructed with."""


@dataclass
class Prepared:
    """A copy of an implementation with random parameters. `call` runs it on canonical arguments."""

    target: Any
    name: str
    backend: Backend
    parameters: dict[str, Any]
    dtype: str
    call: Binding = field(init=False)

    @property
    def named(self) -> dict[str, Array]:
        """The values of the parameters."""
        return {name: to_array(value).astype("float64") for name, value in self.parameters.items()}

    def output(self, inputs: Mapping[str, Any], *, gradients: bool = False) -> tuple[Any, dict[str, Any]]:
        """Return the output and the inputs as the implementation got them."""
        given = {key: to_backend(value, self.backend, gradients=gradients) for key, value in inputs.items()}
        result = self.call(**given)
        return (result[0] if isinstance(result, tuple | list) and result else result), given


def prepare(target: Any, dtype: str, seed: int, what: str) -> Prepared:
    """Return a copy of an implementation with random parameters; a class is constructed with SIZES first.

    Parameters with one axis are near 1 or 0 in most initializations, which hides mistakes: all are sampled. Raises
    ValueError if the object holds no parameters.
    """
    name = name_of(target)
    if inspect.isclass(target) or (inspect.isfunction(target) and not inspect.signature(target).parameters):
        target = construct(target, SIZES)
    if inspect.isroutine(target) or not callable(getattr(target, "forward", target)):
        raise ValueError(
            f"`{name}` must be a torch module, an object with weights and a method forward, or a class of these, "
            f"because {what} has weights, got {type(target).__name__}"
        )
    target = double_copy(target, dtype) if is_module(target) else copy.deepcopy(target)
    if callable(getattr(target, "eval", None)):  # no dropout
        target.eval()
    parameters = named_arrays(target)
    if not parameters:
        raise ValueError(f"`{name}` must hold weights, because {what} has weights, got an object without parameters")
    rng = np.random.default_rng(seed)
    for value in parameters.values():
        shape = tuple(value.shape)
        values = rng.normal(size=shape) * (0.5 if len(shape) == 1 else 1 / np.sqrt(max(shape[-2:])))
        fill(value, values.astype(dtype))
    return Prepared(target, name, backend_of(target), parameters, dtype)


def attribute(target: Any, canonical: str) -> int | None:
    """Return an integer that a module or one of its parts stores under a canonical name or an alias."""
    parts = [target, *(target.modules() if is_module(target) else vars(target).values())]
    parts += [getattr(part, "config", None) for part in parts]
    for part in parts:
        for name in (canonical, *ALIASES.get(canonical, ())):
            value: Any = getattr(part, name, None)
            if (len(name) > 1 or name == "h") and is_integer(value) and int(value or 0) > 0:
                return int(value)
    return None


def find_sizes(prepared: Prepared, n_heads: int | None) -> tuple[int, int]:
    """Return d_model and n_heads. Raises ValueError if the module does not state its number of heads."""
    shapes = [v.shape[-2:] for v in prepared.named.values() if v.ndim >= 2]
    common = [d for d in shapes[0] if all(d in s or 3 * d in s for s in shapes)] if shapes else []
    stated = attribute(prepared.target, "d_model")
    d_model = stated if stated is not None and any(stated in s for s in shapes) else max(common, default=0)
    if not d_model:
        raise ValueError(f"`{prepared.name}` must have an attribute d_model, because its shapes do not show the width")
    lists = {p.rpartition("heads.")[2].partition(".")[0] for p in prepared.named if "heads." in p}
    stacked = [v.shape[0] for v in prepared.named.values() if v.ndim == 3]
    found = n_heads or len(lists) or (stacked[0] if stacked else None) or attribute(prepared.target, "n_heads")
    if found is None:
        raise ValueError(f"`n_heads` must be given, because {prepared.name} has no attribute n_heads")
    if not is_integer(found) or found < 1 or d_model % found:
        raise invalid("n_heads", f"divide `d_model` = {d_model}", found)
    return d_model, int(found)


Reference = Callable[..., Array]


def choose(
    references: Sequence[tuple[str, Reference]],
    cases: Sequence[Case],
    learner: Callable[..., Array],
    known: Sequence[Mistake],
    dtype: str,
) -> tuple[str, Reference]:
    """Return the way to read the weights under which the results are correct; else one that a mistake explains."""
    results = [(case, engine.attempt(lambda case=case: learner(**case.inputs))[0]) for case in cases]  # type: ignore[misc]
    tolerance = engine.TOLERANCE[dtype]
    fitting = [pair for pair in references if not engine.attempt(lambda r=pair[1]: r(**cases[0].inputs))[1]]  # type: ignore[misc]
    if not fitting:
        _, problem = engine.attempt(lambda: references[0][1](**cases[0].inputs))
        raise ValueError(f"the weights must have shapes that fit together: the reference {problem}")
    references = fitting
    for how, reference in references:
        if all(g is not None and engine.same(g, reference(**c.inputs), tolerance) for c, g in results if not c.note):
            return how, reference
    for how, reference in references:
        if engine.fingerprint(results, reference, known, tolerance, {}, pairs=False):
            return how, reference
    return references[0]


def compare_all_gradients(
    report: Report, prepared: Prepared, reference: Callable[..., Array], inputs: Mapping[str, Any], seed: int
) -> None:
    """Compare autograd's gradient of every parameter and of x with the complex-step derivative of the reference.

    A NumPy object with a method backward(dy) is compared in the gradient of x that it returns. reference: called with
    the inputs and `named`, the parameters by path.
    """
    if prepared.backend != "torch":
        _compare_backward(report, prepared, reference, inputs, seed)
        return
    output, given = prepared.output(inputs, gradients=True)
    upstream = np.random.default_rng(seed + 1).normal(size=to_array(output).shape).astype(prepared.dtype)
    floats = {key for key, value in inputs.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"}
    wanted = {**{key: given[key] for key in sorted(floats)}, **prepared.parameters}
    got = engine.torch_gradients(output, upstream, wanted)
    values = {**{key: inputs[key] for key in floats}, **prepared.named}
    rest = {key: value for key, value in inputs.items() if key not in floats}

    def truth(**arguments: Any) -> Array:
        named = {key: arguments.pop(key) for key in prepared.parameters}
        return reference(named=named, **arguments, **rest)

    right = engine.gradients(truth, values, upstream, wanted)
    engine.compare_gradients(report, got, right, prepared.dtype)


def _compare_backward(
    report: Report, prepared: Prepared, reference: Callable[..., Array], inputs: Mapping[str, Any], seed: int
) -> None:
    """Call forward, then backward, of a NumPy object, in training mode if it has one, and compare dx."""
    target = prepared.target
    if not callable(getattr(target, "backward", None)):
        return
    if callable(getattr(target, "train", None)):
        target.train()
    upstream = np.random.default_rng(seed + 1).normal(size=inputs["x"].shape).astype(prepared.dtype)

    def truth(x: Array) -> Array:
        return reference(named=prepared.named, **{**inputs, "x": x})

    right = engine.gradients(truth, {"x": inputs["x"]}, upstream, ["x"])["x"]

    def run() -> Array:
        prepared.output(inputs)
        result = target.backward(upstream.copy())
        return to_array(result[0] if isinstance(result, tuple | list) else result)

    found, problem = engine.attempt(run)
    if not problem:
        tolerance = engine.TOLERANCE[prepared.dtype]
        problem = engine.difference(found, right, "dx", "the analytic gradient", tolerance) or ""
    report.add("gradient of x", "FAIL" if problem else "ok", problem or "its own backward pass")
