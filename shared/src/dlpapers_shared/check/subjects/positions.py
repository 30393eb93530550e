"""Check sinusoidal positional encoding: Attention Is All You Need (1706.03762), section 3.5."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import Array, backend_of, double_copy, is_module, to_array, to_backend
from dlpapers_shared.check.engine import Case, mistakes
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import bind, check_options, construct, name_of

FORMULA = "PE(pos, 2i) = sin(pos / 10000^(2i/d_model)), PE(pos, 2i + 1) = cos(…)"

MISTAKES = mistakes(
    frequency={
        "i": "frequencies by i instead of 2i",
        "column": "each column has its own frequency: sine and cosine of a pair must share one",
        "inverse": "multiplied by 10000^(2i/d_model) instead of divided by it",
        "tensor2tensor": "frequencies divided by d_model/2 - 1 (as in tensor2tensor) instead of d_model/2",
        "none": "all columns have the same frequency",
    },
    base={
        "1000": "base of the positional encoding: 1,000 instead of 10,000",
        "100000": "base 100,000 instead of 10,000",
    },
    layout={
        "halves": "all sines first, then all cosines, instead of interleaved (as in tensor2tensor)",
        "swapped": "cosine where sine belongs",
        "sines": "no cosines",
        "transposed": "the table is transposed",
    },
    start={"1": "positions start from 1 instead of 0"},
)


def reference(
    context_length: int, d_model: int, *, frequency: str = "", base: str = "", layout: str = "", start: str = ""
) -> Array:
    """Return the table (context_length, d_model) of the paper, or with switches what a common mistake computes."""
    even: Array
    odd: Array
    number = float(base or 10000)
    positions = np.arange(context_length)[:, None] + float(start or 0)
    pair = np.arange((d_model + 1) // 2)
    exponent = {"": 2 * pair / d_model, "i": pair / d_model, "inverse": -2 * pair / d_model, "none": 0 * pair}
    exponent["tensor2tensor"] = pair / max(1, d_model // 2 - 1)
    if frequency == "column":
        angle = positions / number ** (np.arange(d_model) / d_model)
        even, odd = angle[:, 0::2], angle[:, 1::2]
    else:
        even = positions / number ** exponent[frequency]
        odd = even[:, : d_model // 2]
    first, second = (np.cos, np.sin) if layout == "swapped" else (np.sin, np.sin if layout == "sines" else np.cos)
    if layout == "halves":
        return np.concatenate([first(even), second(odd)], axis=1)
    table: Array = np.empty((context_length, d_model))
    table[:, 0::2], table[:, 1::2] = first(even), second(odd)
    return table.T if layout == "transposed" else table


def positional_encoding(implementation: Any, *, dtype: str = "float64", seed: int = 0) -> Report:
    """Compare a table of sinusoidal positional encodings with the paper's.

    Args:
        implementation: a function f(context_length, d_model) that returns the table (context_length, d_model), or a
            torch module or NumPy object that is called with x (batch, n, d_model) and adds the table to it, or a class.
        dtype: for modules, the dtype of x; a function may return float32 with dtype="float32". seed: of the random x.
    Raises: ValueError if the signature is not clear.

    >>> def mine(context_length, d_model):
    ...     angle = np.arange(context_length)[:, None] / 10000 ** (np.arange(0, d_model, 2) / d_model)
    ...     return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    >>> print(*positional_encoding(mine).diagnosis)
    This matches a common mistake: all sines first, then all cosines, instead of interleaved (as in tensor2tensor).
    """
    check_options(dtype=dtype, seed=seed)
    name = name_of(implementation)
    if inspect.isclass(implementation):
        sizes: dict[str, Any] = {"d_model": 8, "dropout": 0.0, "context_length": 16}
        implementation = construct(implementation, sizes)
    if is_module(implementation) or hasattr(implementation, "forward"):
        return _check_object(implementation, name, dtype, seed)
    call = bind(implementation, ("context_length", "d_model"))
    report = Report("positional encoding", name, backend_of(implementation))
    cases = [
        Case(f"table of {n} positions, d_model {d}", {"context_length": n, "d_model": d})
        for n, d in ((5, 8), (50, 16), (7, 2))
    ]
    engine.judge(report, cases, lambda **i: to_array(call(**i)), reference, MISTAKES, FORMULA, dtype=dtype)
    return report


ADDED = mistakes(
    added={"no": "the table is returned, but not added to x", "twice": "the table is added twice"},
    scaled={"yes": "x is multiplied by √d_model here: scale the embedding instead, where it is looked up"},
)


def _check_object(target: Any, name: str, dtype: str, seed: int) -> Report:
    target = double_copy(target, dtype) if is_module(target) else target
    call = bind(target.forward, ("x",), (), name)
    backend = backend_of(target)
    report = Report("positional encoding", name, backend)
    buffers = list(target.buffers()) + list(target.parameters()) if is_module(target) else list(vars(target).values())
    shapes = [tuple(v.shape) for v in buffers if hasattr(v, "shape") and len(v.shape) > 1]
    d_model = shapes[0][-1] if shapes else 8
    rng = np.random.default_rng(seed)
    cases = [
        Case(f"x plus the table of {n} positions", {"x": rng.normal(size=(2, n, d_model)).astype(dtype)})
        for n in (5, 9)
    ]

    def truth(x: Array, added: str = "", scaled: str = "", **switches: Any) -> Array:
        table = reference(x.shape[1], d_model, **switches)
        if switches.get("layout") == "transposed":
            raise ValueError("no such shape")
        x = x * np.sqrt(d_model) if scaled else x
        return np.broadcast_to(table, x.shape) if added == "no" else x + table * (2 if added else 1)

    def learner(x: Array) -> Array:
        result = to_array(call(x=to_backend(x, backend)))
        return np.broadcast_to(result, x.shape) if result.size * x.shape[0] == x.size else result

    # a table that was computed in float32 keeps its rounding after `.double()`
    engine.judge(report, cases, learner, truth, [*MISTAKES, *ADDED], FORMULA, dtype="float32")
    return report
