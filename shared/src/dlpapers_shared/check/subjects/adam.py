"""Check Adam: Kingma and Ba (1412.6980), algorithm 1."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from dlpapers_shared._common.errors import check_fraction, check_not_negative, check_positive
from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import Array, Backend, settle, to_array, to_backend
from dlpapers_shared.check.engine import Case, mistakes
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import bind, check_options, name_of

FORMULA = "w - lr · m̂/(√v̂ + ε)"
STEPS = 6

MISTAKES = mistakes(
    correction={
        "none": "no bias correction",
        "no first": "no bias correction of the first moment",
        "no second": "no bias correction of the second moment",
        "late": "bias correction with the wrong t: t + 1",
        "early": "bias correction with the wrong t: t - 1, which divides 0 by 0 in the first step",
        "constant": "bias correction with t = 1 in every step: t is not counted",
        "stored": "the corrected moments are stored, so they are corrected again in the next step",
    },
    eps_={
        "inside": "eps inside the square root: √(v̂ + ε) instead of √v̂ + ε",
        "uncorrected": "eps inside the bias correction: added to √v instead of √v̂",
        "none": "no eps",
    },
    moments={
        "swapped": "beta1 and beta2 are swapped",
        "no square": "the second moment is a mean of g instead of g²",
        "absolute": "the second moment is a mean of |g| instead of g²",
        "no factor": "m lacks the factor 1 - beta1, and v the factor 1 - beta2",
        "complement": "beta and 1 - beta are confused",
        "forgotten": "the moments are not kept between steps",
    },
    update={
        "sign": "the sign of the update is reversed: w + lr · …",
        "no root": "divided by v̂ instead of √v̂",
        "sgd": "the gradient is divided by √v̂ instead of the first moment: this is RMSprop",
        "decay": "the weights decay by 0.01 · lr in each step, as in AdamW: algorithm 1 has no weight decay",
        "l2": "0.01 · w is added to the gradient (L2 regularization): algorithm 1 has no weight decay",
        "no momentum": "the first moment is not divided by √v̂: this is momentum without scaling",
    },
)


def reference(
    w: Array,
    grads: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    *,
    correction: str = "",
    eps_: str = "",
    moments: str = "",
    update: str = "",
) -> Array:
    """Return the weights after each step (steps, n) for gradients (steps, n), or what a common mistake computes."""
    w = w.astype("float64").copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    b1, b2 = (beta2, beta1) if moments == "swapped" else (beta1, beta2)
    b1, b2 = (1 - b1, 1 - b2) if moments == "complement" else (b1, b2)
    trace = []
    for step, g in enumerate(grads.astype("float64"), start=1):
        g = g + 0.01 * w if update == "l2" else g
        w = w * (1 - 0.01 * lr) if update == "decay" else w
        t = {"late": step + 1, "early": step - 1, "constant": 1}.get(correction, step)
        f1, f2 = (1.0, 1.0) if moments == "no factor" else (1 - b1, 1 - b2)
        if moments == "forgotten":
            m, v = np.zeros_like(w), np.zeros_like(w)
        m = b1 * m + f1 * g
        v = b2 * v + f2 * {"no square": g, "absolute": np.abs(g)}.get(moments, g**2)
        c1 = 1.0 if correction in ("none", "no first") else 1 - b1**t
        c2 = 1.0 if correction in ("none", "no second") else 1 - b2**t
        with np.errstate(all="ignore"):
            m_hat, v_hat = m / c1, v / c2
            if correction == "stored":
                m, v = m_hat, v_hat
            root = np.sqrt(v_hat + eps) if eps_ == "inside" else np.sqrt(v_hat) + eps
            root = (np.sqrt(v) + eps) / np.sqrt(c2) if eps_ == "uncorrected" else root
            root = np.sqrt(v_hat) if eps_ == "none" else root
            root = v_hat + eps if update == "no root" else root
            change = g / root if update == "sgd" else (m_hat if update == "no momentum" else m_hat / root)
        w = w + lr * change if update == "sign" else w - lr * change
        trace.append(w)
    return np.array(trace)


def adam(
    implementation: Any,
    *,
    lr: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.99,
    eps: float = 0.01,
    dtype: str = "float64",
    seed: int = 0,
) -> Report:
    """Compare some steps of Adam with algorithm 1 of the paper.

    The default eps is large, so that mistakes with it are visible.

    Args:
        implementation: a function f(w, g, m, v, t, lr, beta1, beta2, eps) that returns the new w, m and v, where t
            counts from 1; or a class like torch.optim.Adam, C(params, lr=…, betas=…, eps=…) with a method step(); or a
            class for NumPy with a method step(grads) that changes the arrays of the list params in place.
        lr, beta1, beta2, eps: settings of Adam. dtype: dtype of weights and gradients. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.

    >>> def mine(w, g, m, v, t, lr, beta1, beta2, eps):
    ...     m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    ...     return w - lr * m / (np.sqrt(v) + eps), m, v
    >>> print(*adam(mine).diagnosis)
    This matches a common mistake: no bias correction.
    """
    check_options(dtype=dtype, seed=seed)
    check_positive("lr", lr)
    check_fraction("beta1", beta1)
    check_fraction("beta2", beta2)
    check_not_negative("eps", eps)
    settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
    is_class = inspect.isclass(implementation)
    probe = np.ones(4, dtype), np.ones((2, 4), dtype)
    backend: Backend
    if is_class:
        backend = "torch" if _takes_no_gradients(implementation) else "NumPy"
        run = _class_runner(implementation, settings, backend)
    else:
        backend = settle(implementation, lambda kind: _function_runner(implementation, kind)(*probe, **settings))
        run = _function_runner(implementation, backend)
    report = Report("Adam", name_of(implementation), backend)
    rng = np.random.default_rng(seed)

    def case(name: str, scale: float, **changed: float) -> Case:
        w, grads = rng.normal(size=4).astype(dtype), (scale * rng.normal(size=(STEPS, 4))).astype(dtype)
        return Case(name, {"w": w, "grads": grads, **settings, **changed})

    cases = [case(f"weights after each of {STEPS} steps", 1.0), case("gradients of 0.001, where eps counts", 1e-3)]
    engine.judge(report, cases, run, reference, MISTAKES, FORMULA, what="weights (step, element)", dtype=dtype)
    return report


def _takes_no_gradients(kind: type) -> bool:
    """Whether `step` takes no gradients, as in torch, where each parameter holds its own."""
    step = getattr(kind, "step", None)
    if step is None:
        raise ValueError(f"`{kind.__name__}` must have a method step() or step(grads), got a class without one")
    needed = [p for p in list(inspect.signature(step).parameters.values())[1:] if p.default is p.empty]
    return not needed


def _function_runner(function: Any, backend: Backend) -> Callable[..., Array]:
    names = ("w", "g", "m", "v", "t", "lr", "beta1", "beta2", "eps")
    call = bind(function, names)

    def run(w: Array, grads: Array, **settings: float) -> Array:
        m, v = np.zeros_like(w), np.zeros_like(w)
        trace = []
        for t, g in enumerate(grads, start=1):
            arrays = {"w": w, "g": g, "m": m, "v": v}
            result = call(**{key: to_backend(x, backend) for key, x in arrays.items()}, t=t, **settings)
            if not isinstance(result, tuple | list) or len(result) != 3:
                raise TypeError("the function must return three results: the new w, m and v")
            w, m, v = map(to_array, result)
            trace.append(w)
        return np.array(trace)

    return run


def _class_runner(kind: type, settings: dict[str, float], backend: str) -> Callable[..., Array]:
    parameters = list(inspect.signature(kind).parameters)
    options: dict[str, Any] = {}
    for name in parameters[1:]:
        values = {
            **settings,
            "betas": (settings["beta1"], settings["beta2"]),
            "learning_rate": settings["lr"],
            "epsilon": settings["eps"],
            "b1": settings["beta1"],
            "b2": settings["beta2"],
        }
        if name in values:
            options[name] = values[name]
    stated = (
        {"lr", "learning_rate"} & set(options),
        {"betas", "beta1", "b1"} & set(options),
        {"eps", "epsilon"} & set(options),
    )
    if not parameters or not all(stated):
        got = f"{kind.__name__}({', '.join(parameters)})"
        raise ValueError(
            f"`{kind.__name__}` must have the signature {kind.__name__}(params, lr, betas, eps), got {got}"
        )

    def run(w: Array, grads: Array, **_: float) -> Array:
        trace = []
        if backend == "torch":
            import torch

            tensor = torch.nn.Parameter(torch.from_numpy(w.copy()))
            optimizer = kind([tensor], **options)
            for g in grads:
                tensor.grad = torch.from_numpy(g.copy())
                optimizer.step()
                trace.append(to_array(tensor).copy())
            return np.array(trace)
        array = w.copy()
        optimizer = kind([array], **options)
        for g in grads:
            optimizer.step([g.copy()])
            trace.append(array.copy())
        return np.array(trace)

    return run
