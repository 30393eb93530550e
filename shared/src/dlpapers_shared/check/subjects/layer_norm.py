"""Check layer normalization: Ba, Kiros and Hinton (1607.06450), Eq. (3)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import Array, is_module, is_module_class, settle, to_array, to_backend
from dlpapers_shared.check.engine import Case
from dlpapers_shared.check.modules import compare_all_gradients, prepare
from dlpapers_shared.check.reference.transformer import LAYER_NORM_BACKWARD, LAYER_NORM_MISTAKES
from dlpapers_shared.check.reference.transformer import layer_norm as reference
from dlpapers_shared.check.reference.transformer import layer_norm_backward as analytic
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import Binding, bind, check_options, name_of
from dlpapers_shared.check.weights import tokens

FORMULA = "γ(x - mean)/√(var + eps) + β"


def layer_norm(
    implementation: Any,
    *,
    backward: Callable[..., Any] | None = None,
    eps: float | None = None,
    dtype: str = "float64",
    seed: int = 0,
) -> Report:
    """Compare an implementation of LayerNorm over the last axis with the reference: output and gradients.

    Args:
        implementation: a function f(x, gamma, beta, eps=…), or a torch module or NumPy object with weights and a method
            forward(x), or a class of these. x (batch, n, d_model), gamma and beta (d_model,). An object with a method
            backward(dy) that returns dx is checked with that method.
        backward: for NumPy, a function g(dy, x, gamma, beta, eps) that returns dx, dgamma, dbeta.
        eps: the constant in the root. Default: the default of f, or the attribute eps of the object, else 1e-5.
        dtype: dtype of the inputs, float64 or float32. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.

    >>> def mine(x, gamma, beta, eps=1e-5):
    ...     return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True, ddof=1) + eps) + beta
    >>> print(*layer_norm(mine).diagnosis)
    This matches a common mistake: unbiased variance (Bessel's correction: divided by d_model - 1 instead of d_model).
    """
    check_options(dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    inputs = {
        "x": (rng.normal(size=(3, 5, 8)) * rng.uniform(0.5, 3, (3, 5, 1)) + rng.normal(size=(3, 5, 1))).astype(dtype),
        "gamma": rng.normal(size=8).astype(dtype),
        "beta": rng.normal(size=8).astype(dtype),
    }
    tiny = {**inputs, "x": (inputs["x"] * 1e-3).astype(dtype)}
    offset = {**inputs, "x": (inputs["x"] + 1000).astype(dtype)}
    cases = [
        Case("output", inputs),
        Case("output for small numbers, where eps counts", tiny),
        Case("output for numbers around 1,000", offset, note=dtype == "float32"),
    ]
    is_object = is_module(implementation) or is_module_class(implementation) or hasattr(implementation, "forward")
    if is_object or inspect.isclass(implementation):
        return _check_object(implementation, cases, eps, dtype, seed)
    call = bind(implementation, ("x", "gamma", "beta"), ("eps",))
    backend = settle(implementation, lambda kind: call(**{key: to_backend(v, kind) for key, v in inputs.items()}))
    report = Report("layer normalization", name_of(implementation), backend)
    used = _eps_of(call) if eps is None else eps
    more = {"eps": used} if call.accepts("eps") else {}

    def learner(**arguments: Any) -> Array:
        return to_array(call(**{key: to_backend(value, backend) for key, value in arguments.items()}, **more))

    def truth(**arguments: Any) -> Array:
        return reference(**{"eps": used, **arguments})

    if call.accepts("eps"):
        cases.append(Case("output with eps = 0.1", {**inputs, "eps": 0.1}))

        def learner(**arguments: Any) -> Array:
            given = {key: to_backend(value, backend) for key, value in arguments.items()}
            return to_array(call(**{**more, **given}))

    good = engine.judge(report, cases, learner, truth, LAYER_NORM_MISTAKES, FORMULA, dtype=dtype)
    if not good and (backward is not None or backend == "torch"):
        report.add("gradients", "skip", "the output is wrong: correct it first")
    elif good and backward is not None:
        _check_backward(report, backward, inputs, used, dtype)
    elif good and backend == "torch":
        tensors = {key: to_backend(value, backend, gradients=True) for key, value in inputs.items()}
        upstream = rng.normal(size=(3, 5, 8)).astype(dtype)
        right = dict(zip(inputs, analytic(upstream, inputs["x"], inputs["gamma"], inputs["beta"], used), strict=True))
        engine.compare_gradients(
            report, engine.torch_gradients(call(**tensors, **more), upstream, tensors), right, dtype
        )
    return report


def _eps_of(call: Binding) -> float:
    """The default eps of a function; 1e-5 if it has none."""
    if not call.accepts("eps"):
        return 1e-5
    default = inspect.signature(call.function).parameters[call.names["eps"]].default
    return float(default) if isinstance(default, int | float) else 1e-5


def _check_backward(
    report: Report, backward: Callable[..., Any], inputs: dict[str, Array], eps: float, dtype: str
) -> None:
    function = bind(backward, ("dy", "x", "gamma", "beta"), ("eps",))
    upstream = np.random.default_rng(1).normal(size=inputs["x"].shape).astype(dtype)
    engine.judge(
        report,
        [Case("gradients dx, dgamma, dbeta", {"dy": upstream, **inputs, "eps": eps})],
        lambda **given: function(**{k: v.copy() if isinstance(v, np.ndarray) else v for k, v in given.items()}),
        analytic,
        LAYER_NORM_BACKWARD,
        "the analytic gradient",
        names=("dx", "dgamma", "dbeta"),
        dtype=dtype,
    )


def _check_object(implementation: Any, cases: list[Case], eps: float | None, dtype: str, seed: int) -> Report:
    """Check a module or an object: gamma and beta are its parameters, told apart by name or by order."""
    prepared = prepare(implementation, dtype, seed, "LayerNorm")
    target = prepared.target
    call = bind(target.forward if hasattr(target, "forward") else target, ("x",), (), prepared.name)
    prepared.call = call
    gamma, beta = _affine_names(prepared.parameters)
    width = prepared.named[gamma].size
    report = Report("layer normalization", prepared.name, prepared.backend)
    stated = next(
        (e for n in ("eps", "epsilon", "layer_norm_eps") if isinstance(e := getattr(target, n, None), float)), 1e-5
    )
    used = stated if eps is None else eps
    if beta is None:
        report.add("parameters", "note", "the object has gamma only: no beta is added")
    factor = width // 8 + 1
    own = [Case(c.name, {"x": np.tile(c.inputs["x"], factor)[..., :width]}, c.note) for c in cases]
    if width > 8:  # a tiled row has the statistics of its part: add something that differs
        extra = np.random.default_rng(seed).normal(size=(3, 5, width)).astype(dtype)
        own[0] = Case(own[0].name, {"x": extra})

    def truth(x: Array, named: Any = None, **switches: Any) -> Array:
        values = named or prepared.named
        zero = np.zeros(width)
        return reference(x, values[gamma], zero if beta is None else values[beta], used, **switches)

    def learner(x: Array) -> Array:
        return to_array(prepared.output({"x": x})[0])

    good = engine.judge(report, own, learner, truth, LAYER_NORM_MISTAKES, FORMULA, dtype=dtype)
    if not good:
        report.add("gradients", "skip", "the output is wrong: correct it first")
    elif prepared.backend == "torch":
        compare_all_gradients(report, prepared, truth, own[0].inputs, seed)
    elif callable(getattr(target, "backward", None)):
        x = own[0].inputs["x"]
        upstream = np.random.default_rng(seed + 1).normal(size=x.shape).astype(dtype)
        zero = np.zeros(width)
        values = prepared.named

        def backward(dy: Array, x: Array) -> Any:
            if callable(getattr(target, "train", None)):
                target.train()
            prepared.call(x=x.copy())
            result = target.backward(dy.copy())
            return result[0] if isinstance(result, tuple | list) else result

        def analytic_dx(dy: Array, x: Array, **switches: Any) -> Array:
            return analytic(dy, x, values[gamma], zero if beta is None else values[beta], used, **switches)[0]

        cases = [Case("gradient of x", {"dy": upstream, "x": x})]
        known = [m for m in LAYER_NORM_BACKWARD if m.switches["mistake"] not in ("dgamma", "averaged")]
        engine.judge(report, cases, backward, analytic_dx, known, "the analytic gradient", what="dx", dtype=dtype)
    return report


def _affine_names(parameters: dict[str, Any]) -> tuple[str, str | None]:
    """The names of gamma and beta: by name, else in their order. Raises ValueError for any other number of vectors."""
    vectors = [name for name, value in parameters.items() if len(value.shape) == 1]
    if len(vectors) not in (1, 2) or len(vectors) != len(parameters):
        raise ValueError(f"LayerNorm must have the parameters gamma and beta, got {', '.join(parameters)}")
    later = [n for n in vectors if set(tokens(n)) & {"beta", "bias", "b", "shift"}]
    beta = later[0] if later else (vectors[1] if len(vectors) == 2 else None)
    first = [n for n in vectors if n != beta]
    if not first:
        raise ValueError(f"LayerNorm must have a parameter gamma, got {', '.join(parameters)}")
    return first[0], beta
