"""Check scaled dot-product attention: Attention Is All You Need (1706.03762), Eq. (1)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import (
    Array,
    Backend,
    backend_of,
    imports_torch,
    is_module,
    is_module_class,
    named_arrays,
    to_array,
    to_backend,
)
from dlpapers_shared.check.engine import Case
from dlpapers_shared.check.reference.attention import BACKWARD_MISTAKES, FORMULA, MISTAKES, reference
from dlpapers_shared.check.reference.attention import backward as analytic
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import ALIASES, Binding, bind, check_options, construct, name_of

EXPECTED = ("q", "k", "v")


def attention(
    implementation: Any,
    *,
    backward: Callable[..., Any] | None = None,
    causal: bool | None = None,
    n_heads: int | None = None,
    dtype: str = "float64",
    seed: int = 0,
) -> Report:
    """Compare an implementation of attention with softmax(QKᵀ/√d_k)V: output, mask, and gradients.

    Args:
        implementation: a function f(q, k, v, mask=None) of NumPy arrays or torch tensors that returns the output, or
            the output and the weights. q (batch, queries, d_k), k (batch, keys, d_k), v (batch, keys, d_v); mask is
            Boolean, True = may attend. A module or a class with weights of its own is checked as multi-head attention.
        backward: for NumPy, a function g(dout, q, k, v, mask=None) that returns dq, dk, dv.
        causal: whether f(q, k, v) applies a causal mask by itself. Default: both are accepted if f takes no mask.
        n_heads: only for multi-head attention, where the module does not state it.
        dtype: dtype of the inputs, float64 or float32. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.

    >>> def mine(q, k, v):
    ...     scores = q @ k.swapaxes(-1, -2)
    ...     e = np.exp(scores - scores.max(-1, keepdims=True))
    ...     return e / e.sum(-1, keepdims=True) @ v
    >>> report = attention(mine)
    >>> print(*report.diagnosis)
    This matches a common mistake: attention without the 1/√d_k (no scaling by 1 / sqrt(d_k)).
    """
    check_options(dtype=dtype, seed=seed)
    if has_weights(implementation):
        from dlpapers_shared.check.subjects.multi_head import multi_head_attention

        if backward is not None:
            raise ValueError("`backward` must be a method of an object with weights, got a function beside it")
        return multi_head_attention(implementation, n_heads=n_heads, causal=causal, dtype=dtype, seed=seed)
    if isinstance(implementation, type):
        implementation = construct(implementation, {"d_k": 4, "dropout": 0.0})
    if n_heads is not None:
        raise ValueError("`n_heads` must be given for multi-head attention only, and this is attention without weights")
    name = name_of(implementation)
    function = implementation.forward if hasattr(implementation, "forward") else implementation
    call = bind(function, EXPECTED, ("mask", "causal"), name)
    backend = backend_of(implementation)
    report = Report("attention", name, backend)
    if is_module(implementation):
        implementation.eval()

    rng = np.random.default_rng(seed)
    backend, lead = _layout(call, backend, implementation, rng, dtype)
    report.backend = backend

    def learner(**inputs: Any) -> Array:
        return to_array(_output(call(**{key: to_backend(value, backend) for key, value in inputs.items()})))

    with_mask = call.accepts("mask") or call.accepts("causal")
    always_causal = not with_mask and (
        _is_causal(learner, _inputs(rng, lead, 5, 5, dtype)) if causal is None else causal
    )
    cases = _cases(rng, lead, call, always_causal, dtype)

    def truth(**arguments: Any) -> Array:
        if always_causal or arguments.pop("causal", False):
            arguments["mask"] = _causal(arguments["q"].shape[-2])
        return reference(**arguments)

    if len(lead) != 1:
        report.add("leading axes", "note", f"raises for (batch, n, d_k); checked with {len(lead)} leading axes instead")
    good = engine.judge(report, cases, learner, truth, MISTAKES, FORMULA, dtype=dtype)
    _weights(report, learner, rng, lead, call, always_causal, dtype)
    _gradients(report, call, backward, backend, rng, lead, good, always_causal, dtype)
    return report


def has_weights(implementation: Any) -> bool:
    """Return whether an object holds weights, or a class asks for their sizes: d_model or a number of heads."""
    if isinstance(implementation, type):
        parameters = {name.lower() for name in inspect.signature(implementation).parameters}
        sizes = {name for size in ("d_model", "n_heads") for name in (size, *ALIASES[size])}
        return is_module_class(implementation) or bool(parameters & sizes)
    if is_module(implementation) or hasattr(implementation, "forward"):
        return bool(named_arrays(implementation))
    return False


def _is_causal(learner: Callable[..., Array], inputs: dict[str, Array]) -> bool:
    """Return whether the first query ignores the last key and value: a mask of its own, even if shifted by one."""
    changed = {name: value.copy() for name, value in inputs.items()}
    changed["k"][..., -1, :] += 1
    changed["v"][..., -1, :] += 1
    before, _ = engine.attempt(lambda: learner(**inputs)[..., 0, :])
    after, _ = engine.attempt(lambda: learner(**changed)[..., 0, :])
    return before is not None and after is not None and bool(np.array_equal(before, after, equal_nan=True))


def _causal(n: int) -> Array:
    return np.tril(np.ones((n, n), bool))


def _inputs(rng: np.random.Generator, lead: tuple[int, ...], queries: int, keys: int, dtype: str) -> dict[str, Array]:
    shapes = {"q": (queries, 4), "k": (keys, 4), "v": (keys, 6 if queries != keys else 4)}
    return {name: (2 * rng.normal(size=lead + shape)).astype(dtype) for name, shape in shapes.items()}


def _layout(
    call: Binding, backend: Backend, implementation: Any, rng: np.random.Generator, dtype: str
) -> tuple[Backend, tuple[int, ...]]:
    """The kind of arrays and the leading axes that the implementation takes: (batch,) if it runs, else others."""
    backends: list[Backend] = [backend, "torch"] if backend == "NumPy" and imports_torch(implementation) else [backend]
    for kind in backends:
        for lead in ((2,), (2, 3), ()):
            inputs = _inputs(rng, lead, 5, 5, dtype)
            made = {key: to_backend(value, kind) for key, value in inputs.items()}
            extra = {"mask": to_backend(_causal(5), kind)} if call.accepts("mask") else {}
            result, problem = engine.attempt(lambda made=made, extra=extra: call(**made, **extra))  # type: ignore[misc]
            output = None if problem else engine.attempt(lambda r=result: to_array(_output(r)))[0]  # type: ignore[misc]
            if output is not None and output.shape == inputs["v"].shape:
                return kind, lead
    return backend, (2,)


def _output(result: Any) -> Any:
    """The output of a result that may be a pair of output and weights."""
    return result[0] if isinstance(result, tuple | list) and len(result) == 2 else result


def _cases(
    rng: np.random.Generator, lead: tuple[int, ...], call: Binding, always_causal: bool, dtype: str
) -> list[Case]:
    if always_causal:
        return [Case("output with its own causal mask", _inputs(rng, lead, 5, 5, dtype))]
    cases = [
        Case("output without a mask", _inputs(rng, lead, 5, 5, dtype)),
        Case("output, 3 queries and 5 keys", _inputs(rng, lead, 3, 5, dtype)),
    ]
    if call.accepts("causal"):
        cases.append(Case("output with causal=True", {**_inputs(rng, lead, 5, 5, dtype), "causal": True}))
    if call.accepts("mask"):
        random = rng.random((5, 5)) < 0.5
        random |= np.eye(5, dtype=bool)
        empty = _causal(5)
        empty[2] = False
        cases += [
            Case("output with a causal mask", {**_inputs(rng, lead, 5, 5, dtype), "mask": _causal(5)}),
            Case("output with a random mask", {**_inputs(rng, lead, 5, 5, dtype), "mask": random}),
            Case("a query that may attend to nothing", {**_inputs(rng, lead, 5, 5, dtype), "mask": empty}, note=True),
        ]
    large = {key: value * (40 if key != "v" else 1) for key, value in _inputs(rng, lead, 5, 5, dtype).items()}
    cases.append(Case("scores of several thousand", large))
    if "mask" in call.needed:  # f cannot be called without a mask: one that excludes nothing
        full = {n: np.ones((n, 5), bool) for n in (3, 5)}
        cases = [Case(c.name, {"mask": full[c.inputs["q"].shape[-2]], **c.inputs}, c.note) for c in cases]
    return cases


def _weights(
    report: Report,
    learner: Callable[..., Array],
    rng: np.random.Generator,
    lead: tuple[int, ...],
    call: Binding,
    always_causal: bool,
    dtype: str,
) -> None:
    """Say what is wrong with the weights. With the identity as values, the output is the weights."""
    if not report.failures:
        return
    inputs = _inputs(rng, lead, 5, 5, dtype)
    inputs["v"] = np.broadcast_to(np.eye(5), (*lead, 5, 5)).astype(dtype)
    mask = _causal(5) if always_causal or call.accepts("mask") else None
    more = {"mask": mask} if call.accepts("mask") else {}
    p, problem = engine.attempt(lambda: learner(**inputs, **more))
    if problem or p.shape != (*lead, 5, 5):
        return
    sums = p.sum(-1)
    wrong = np.argwhere(~(np.abs(sums - 1) < 1e-4))
    if len(wrong):
        index = tuple(wrong[0])
        report.explain(
            f"Rows of the weights do not sum to 1: row{engine.place(index)[3:]} sums to {engine.number(sums[index])}."
        )
    if mask is not None:
        leaks = np.argwhere((np.abs(p) > 1e-6) & ~mask)
        if len(leaks):
            *_, query, key = leaks[0]
            weight = engine.number(p[tuple(leaks[0])])
            report.explain(f"Query {query} attends to key {key}, which the mask excludes (weight {weight}).")


def _gradients(
    report: Report,
    call: Binding,
    backward: Callable[..., Any] | None,
    backend: Backend,
    rng: np.random.Generator,
    lead: tuple[int, ...],
    good: bool,
    always_causal: bool,
    dtype: str,
) -> None:
    if backend == "NumPy" and backward is None:
        return
    if not good:
        report.add("gradients", "skip", "the output is wrong: correct it first")
        return
    inputs = _inputs(rng, lead, 5, 5, dtype)
    upstream = rng.normal(size=inputs["v"].shape).astype(dtype)
    masks = {"mask": _causal(5)} if call.accepts("mask") else {}
    mask = _causal(5) if always_causal or masks else None
    if backward is not None:
        function = bind(backward, ("dout", *EXPECTED), ("mask",))
        case = Case("gradients dq, dk, dv", {"dout": upstream, **inputs, **masks})

        def learner(**arguments: Any) -> Any:
            return function(**{key: to_backend(value, backend) for key, value in arguments.items()})

        def truth(**arguments: Any) -> Any:
            return analytic(**{**arguments, "mask": mask})

        names = ("dq", "dk", "dv")
        formula = "the analytic gradient"
        engine.judge(report, [case], learner, truth, BACKWARD_MISTAKES, formula, names=names, dtype=dtype)
        return
    tensors = {key: to_backend(value, backend, gradients=True) for key, value in inputs.items()}
    given = {key: to_backend(value, backend) for key, value in masks.items()}
    output = _output(call(**tensors, **given))
    right = dict(zip(EXPECTED, analytic(upstream, inputs["q"], inputs["k"], inputs["v"], mask), strict=True))
    engine.compare_gradients(report, engine.torch_gradients(output, upstream, tensors), right, dtype)
