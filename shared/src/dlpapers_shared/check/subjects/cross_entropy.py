"""Check the softmax, the cross-entropy, and label smoothing (1512.00567, section 7), each with its gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlpapers_shared._common.errors import check_fraction
from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import Array, Backend, settle, to_array, to_backend
from dlpapers_shared.check.engine import Case, Mistake
from dlpapers_shared.check.reference.loss import (
    CROSS_ENTROPY_MISTAKES,
    GRADIENT_MISTAKES,
    SMOOTHING_MISTAKES,
    SOFTMAX_BACKWARD,
    SOFTMAX_MISTAKES,
)
from dlpapers_shared.check.reference.loss import cross_entropy as reference
from dlpapers_shared.check.reference.loss import cross_entropy_gradient as analytic
from dlpapers_shared.check.reference.loss import softmax as softmax_reference
from dlpapers_shared.check.reference.loss import softmax_backward as softmax_analytic
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import bind, check_options, name_of


def softmax(
    implementation: Any, *, backward: Callable[..., Any] | None = None, dtype: str = "float64", seed: int = 0
) -> Report:
    """Compare a softmax over the last axis with the reference.

    Args:
        implementation: a function f(x) or f(x, axis) of a NumPy array or a torch tensor.
        backward: for NumPy, a function g(dp, p) that returns the gradient of x from the probabilities p = softmax(x).
        dtype: dtype of x, float64 or float32. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.

    >>> print(*softmax(lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)).diagnosis)
    This matches a common mistake: no maximum subtracted before exp, so large numbers overflow.
    """
    check_options(dtype=dtype, seed=seed)
    call = bind(implementation, ("x",), ("axis",))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4, 4)).astype(dtype) * 2
    backend = settle(implementation, lambda kind: call(x=to_backend(x, kind)))
    report = Report("softmax", name_of(implementation), backend)
    large = (np.array([[1000.0, 999.0, 0.0], [-1000.0, -1001.0, -999.0]])).astype(dtype)
    default = _axis_default(implementation, call.names.get("axis", ""))
    last = {} if default in (None, -1) else {"axis": -1}
    last = {"axis": -1} if "axis" in call.needed else last
    cases = [Case("probabilities of (4, 4)", {"x": x}), Case("numbers of a thousand, which overflow exp", {"x": large})]
    if call.accepts("axis"):
        cases.append(Case("probabilities along axis 0", {"x": rng.normal(size=(3, 5)).astype(dtype), "axis": 0}))

    def learner(x: Array, **axis: int) -> Array:
        return to_array(call(x=to_backend(x, backend), **{**last, **axis}))

    good = engine.judge(report, cases, learner, softmax_reference, SOFTMAX_MISTAKES, "exp(x)/Σ exp(x)", dtype=dtype)
    if backward is not None and good:
        function = bind(backward, ("dp", "p"))
        p, dp = softmax_reference(x), rng.normal(size=x.shape).astype(dtype)
        case = Case("gradient of x", {"dp": dp, "p": p})
        run = lambda **given: function(**{k: v.copy() for k, v in given.items()})  # noqa: E731
        formula = "p * (dp - Σ dp * p)"
        engine.judge(report, [case], run, softmax_analytic, SOFTMAX_BACKWARD, formula, what="dx", dtype=dtype)
    elif backend == "torch" and good:
        tensor, dp = to_backend(x, backend, gradients=True), rng.normal(size=x.shape).astype(dtype)
        got = engine.torch_gradients(call(x=tensor, **last), dp, {"x": tensor})
        engine.compare_gradients(report, got, {"x": softmax_analytic(dp, softmax_reference(x))}, dtype)
    elif not good and (backward is not None or backend == "torch"):
        report.add("gradients", "skip", "the output is wrong: correct it first")
    return report


def _axis_default(function: Any, parameter: str) -> Any:
    return inspect.signature(function).parameters[parameter].default if parameter else None


def cross_entropy(
    implementation: Any, *, backward: Callable[..., Any] | None = None, dtype: str = "float64", seed: int = 0
) -> Report:
    """Compare a mean cross-entropy in nats, and its gradient, with the reference.

    Args:
        implementation: a function f(logits, targets) that returns the loss, or the loss and the gradient of the logits.
            logits (n, vocab_size), targets (n,) of ids. torch functions are checked by autograd.
        backward: for NumPy, a function g(logits, targets) that returns the gradient of the logits.
        dtype: dtype of the logits, float64 or float32. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.

    >>> def mine(logits, targets):
    ...     log_p = logits - logits.max(-1, keepdims=True)
    ...     log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    ...     gradient, rows = np.exp(log_p), range(len(targets))
    ...     gradient[rows, targets] -= 1
    ...     return -log_p[rows, targets].mean(), gradient
    >>> print(*cross_entropy(mine).diagnosis)
    This matches a common mistake: the gradient is that of the sum: it is not divided by the number of targets.
    """
    check_options(dtype=dtype, seed=seed)
    call = bind(implementation, ("logits", "targets"))
    report = Report("cross-entropy", name_of(implementation), "NumPy")
    return _check_loss(report, implementation, call, backward, {}, CROSS_ENTROPY_MISTAKES, dtype, seed)


def label_smoothing(
    implementation: Any,
    *,
    backward: Callable[..., Any] | None = None,
    label_smoothing: float = 0.1,
    dtype: str = "float64",
    seed: int = 0,
) -> Report:
    """Compare a label-smoothed mean cross-entropy, and its gradient, with the reference.

    The target distribution is (1 - ε) one-hot + ε / vocab_size, as in 1512.00567, Eq. (7), and torch.

    Args:
        implementation: a function f(logits, targets, label_smoothing) that returns the loss, or the loss and the
            gradient of the logits. logits (n, vocab_size), targets (n,) of ids.
        backward: for NumPy, a function g(logits, targets, label_smoothing) that returns the gradient of the logits.
        label_smoothing: ε in [0, 1). dtype: dtype of the logits. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.

    >>> def mine(logits, targets, eps):
    ...     log_p = logits - logits.max(-1, keepdims=True)
    ...     log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    ...     q = np.full(log_p.shape, eps / (log_p.shape[1] - 1))
    ...     q[range(len(targets)), targets] = 1 - eps
    ...     return -(q * log_p).sum(1).mean()
    >>> print(*label_smoothing(mine).diagnosis)
    This matches a common mistake: ε is spread over the other vocab_size - 1 classes (as in tensor2tensor), not all.
    """
    check_options(dtype=dtype, seed=seed)
    check_fraction("label_smoothing", label_smoothing)
    call = bind(implementation, ("logits", "targets", "label_smoothing"))
    report = Report("label smoothing", name_of(implementation), "NumPy")
    more = {"label_smoothing": label_smoothing}
    known = [*CROSS_ENTROPY_MISTAKES, *SMOOTHING_MISTAKES]
    return _check_loss(report, implementation, call, backward, more, known, dtype, seed)


def _check_loss(
    report: Report,
    implementation: Any,
    call: Callable[..., Any],
    backward: Callable[..., Any] | None,
    more: Mapping[str, float],
    known: Sequence[Mistake],
    dtype: str,
    seed: int,
) -> Report:
    rng = np.random.default_rng(seed)
    inputs: dict[str, Any] = {"logits": 2 * rng.normal(size=(6, 5)), "targets": rng.integers(0, 5, 6), **more}
    inputs["logits"] = inputs["logits"].astype(dtype)
    large = {**inputs, "logits": (inputs["logits"] * 500).astype(dtype)}
    single = {**inputs, "logits": inputs["logits"][:1], "targets": inputs["targets"][:1]}
    cases = [
        Case("loss of 6 targets", inputs),
        Case("loss of one target", single),
        Case("logits of a thousand, which overflow exp", large),
    ]

    def once(kind: Backend) -> Any:
        return call(**{key: to_backend(value, kind) for key, value in inputs.items()})

    report.backend = backend = settle(implementation, once)

    def run(**given: Any) -> Any:
        return call(**{key: to_backend(value, backend) for key, value in given.items()})

    sample, _ = engine.attempt(lambda: run(**inputs))
    pair = isinstance(sample, tuple | list) and len(sample) == 2

    def loss(**given: Any) -> Array:
        result = run(**given)
        return to_array(result[0] if pair else result)

    formula = "-mean(Σ q log p)" if more else "-mean(log p[target])"
    engine.judge(report, cases, loss, reference, known, formula, what="loss", dtype=dtype)
    good = all(row.status == "ok" for row in report.rows[:2])  # an overflow does not hide the gradient
    if backward is None and not pair and backend == "NumPy":
        return report
    if not good:
        report.add("gradients", "skip", "the loss is wrong: correct it first")
        return report
    case = Case("gradient of the logits", inputs)
    formula = "(softmax(logits) - q)/n" if more else "(softmax(logits) - onehot)/n"
    if backward is not None or pair:
        function = bind(backward, tuple(inputs)) if backward is not None else None

        def gradient(**given: Any) -> Any:
            copies = {key: to_backend(value, backend) for key, value in given.items()}
            return function(**copies) if function is not None else call(**copies)[1]

        found = GRADIENT_MISTAKES if more else [m for m in GRADIENT_MISTAKES if "smooth" not in str(m.switches)]
        engine.judge(report, [case], gradient, analytic, found, formula, what="dlogits", dtype=dtype)
    else:
        tensor = to_backend(inputs["logits"], backend, gradients=True)
        rest = {key: to_backend(value, backend) for key, value in inputs.items() if key != "logits"}
        got = engine.torch_gradients(call(logits=tensor, **rest), np.ones(()), {"logits": tensor})
        engine.compare_gradients(report, got, {"logits": analytic(**inputs)}, dtype)
    return report
