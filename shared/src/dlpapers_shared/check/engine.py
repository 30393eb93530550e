"""Compare an implementation with a reference on random inputs, and recognize common mistakes by their results.

A **fingerprint** is the result of a mistaken reference: the reference with one or two switches set, on the same inputs.
If all results of an implementation equal those of a mistaken reference, the report names that mistake.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlpapers_shared.check.backend import Array, to_array
from dlpapers_shared.check.report import Report, Status

TOLERANCE = {"float64": (1e-9, 1e-10), "float32": (1e-4, 1e-5), "float16": (1e-2, 1e-2)}
"""Relative and absolute tolerance, by the dtype of the inputs."""
STEP = 1e-30
"""Step of the complex-step derivative; it has no rounding error, so it can be this small."""


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    note: a difference is reported, but it does not fail the check. labels: what the elements of a one-axis result are
    called in messages, such as "step 1".
    """

    name: str
    inputs: Mapping[str, Any]
    note: bool = False
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Mistake:
    """One common mistake: its sentence, and the switches of the reference that reproduce it."""

    sentence: str
    switches: Mapping[str, Any]


Function = Callable[..., Any]


def mistakes(**table: Mapping[Any, str]) -> list[Mistake]:
    """Return mistakes from a table: switch -> value of the switch -> sentence."""
    return [Mistake(text, {switch: value}) for switch, values in table.items() for value, text in values.items()]


# ------------------------------------------------------------------------------------------------ one comparison


def close(got: Array, expected: Array, tolerance: tuple[float, float]) -> Array:
    """Return element by element whether two arrays of one shape are equal within the tolerance; NaN equals NaN."""
    relative, absolute = tolerance
    return np.isclose(got, expected, rtol=relative, atol=absolute, equal_nan=True)


def same(got: Any, expected: Any, tolerance: tuple[float, float]) -> bool:
    """Return whether two results are equal: the same shape and all elements close."""
    if isinstance(got, tuple | list) and isinstance(expected, tuple | list):
        return len(got) == len(expected) and all(same(g, e, tolerance) for g, e in zip(got, expected, strict=True))
    if not (isinstance(got, np.ndarray) and isinstance(expected, np.ndarray)) or got.shape != expected.shape:
        return False
    return bool(close(got, expected, tolerance).all())


def number(value: float, other: float | None = None) -> str:
    """Format a number with two digits, or with as many as distinguish it from another one.

    >>> number(0.3105, 0.2799), number(0.3106, 0.3104), number(float("nan"))
    ('0.31', '0.311', 'NaN')
    """
    for digits in range(2, 17):
        text = f"{value:.{digits}g}"
        if other is None or text != f"{other:.{digits}g}":
            break
    return "NaN" if text == "nan" else text


def place(index: Iterable[int]) -> str:
    """Format an index: [0, 2, 1]; nothing for a scalar."""
    numbers = list(map(int, index))
    return f" at {numbers}" if numbers else ""


def difference(
    got: Array,
    expected: Array,
    what: str,
    formula: str,
    tolerance: tuple[float, float],
    labels: Sequence[str] = (),
) -> str | None:
    """Return a sentence about the first element that differs, or None if all are close."""
    if got.shape != expected.shape:
        return f"{what} has shape {got.shape}, must have {expected.shape}"
    wrong = ~close(got, expected, tolerance)
    if not wrong.any():
        return None
    index = tuple(np.argwhere(wrong)[0])
    shown = f"{number(float(got[index]), float(expected[index]))} instead of "
    shown += number(float(expected[index]), float(got[index]))
    count = f" ({wrong.sum()} of {wrong.size} elements differ)" if wrong.size > 1 else ""
    where = f" at {labels[index[0]]}" if labels else place(index)
    return f"{what} differs from {formula}{where}: {shown}{count}{_pattern(got, expected, tolerance)}"


def _pattern(got: Array, expected: Array, tolerance: tuple[float, float]) -> str:
    """Say what is simple about a difference: a constant factor, a constant term, a transposed result, rounding."""
    if not (np.isfinite(got).all() and np.isfinite(expected).all()) or not expected.size:
        return ""
    big = np.abs(expected) > 1e-6
    if big.sum() > 1 and not np.abs(got[~big]).max(initial=0) > 1e-6:
        ratio = got[big] / expected[big]
        if np.ptp(ratio) < 1e-7 * max(1.0, float(np.abs(ratio[0]))):
            return f"; every element is {number(float(ratio[0]))} times the correct one"
    if got.size > 1 and np.ptp(got - expected) < 1e-9:
        return f"; every element differs by {number(float((got - expected).flat[0]))}"
    if got.ndim > 1 and got.shape[-1] == got.shape[-2] and same(got, expected.swapaxes(-1, -2), tolerance):
        return "; it is the transpose of the correct result"
    many = 2 * (~close(got, expected, tolerance)).sum() > got.size
    if many and np.abs(got - expected).max() < 1e-6 * max(1.0, float(np.abs(expected).max())):
        return "; the difference is as small as float32 rounding (check with dtype float32?) or another eps"
    return ""


def attempt(function: Callable[[], Any]) -> tuple[Any, str]:
    """Return a result and "", or None and a sentence about the exception that was raised."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(), ""
    except NotImplementedError as error:
        return None, f"is not implemented yet{f' ({error})' if str(error) else ''}"
    except Exception as error:  # whatever the implementation raises is a finding
        text = " ".join(str(error).split())
        return None, f"raises {type(error).__name__}{': ' + text if text else ''}"[:300]


# ------------------------------------------------------------------------------------------------ many comparisons


def judge(
    report: Report,
    cases: Sequence[Case],
    learner: Function,
    reference: Function,
    known: Sequence[Mistake],
    formula: str,
    *,
    what: str = "output",
    names: Sequence[str] = (),
    dtype: str = "float64",
    fixed: Mapping[str, Any] | None = None,
) -> bool:
    """Add a row for each case, and the mistakes that explain the failures. Returns whether none failed.

    learner, reference: called with the inputs of a case; the reference also with the switches of mistakes. Both return
    an array, or several, which `names` names. fixed: switches of the correct reference.
    """
    tolerance = TOLERANCE[dtype]
    fixed = fixed or {}
    results: list[tuple[Case, Any]] = []
    failed = False
    for case in cases:
        expected = reference(**case.inputs, **fixed)
        got, problem = attempt(lambda case=case: _as_arrays(learner(**case.inputs)))  # type: ignore[misc]
        results.append((case, got))
        status: Status
        if problem:
            status, detail = "FAIL", problem
        else:
            status, detail = _compare(got, expected, what, formula, names, tolerance, case.labels)
        if status == "FAIL" and case.note:
            status = "note"
        failed = failed or status == "FAIL"
        report.add(case.name, status, detail)
    if failed:
        report.explain(*fingerprint(results, reference, known, tolerance, fixed))
    return not failed


def _as_arrays(result: Any) -> Any:
    return tuple(map(to_array, result)) if isinstance(result, tuple | list) else to_array(result)


def _compare(
    got: Any,
    expected: Any,
    what: str,
    formula: str,
    names: Sequence[str],
    tolerance: tuple[float, float],
    labels: Sequence[str],
) -> tuple[Status, str]:
    if not isinstance(expected, tuple):
        if isinstance(got, tuple):
            return "FAIL", f"returns {len(got)} results, must return one"
        got, expected, names = (got,), (expected,), (what,)
    if not isinstance(got, tuple) or len(got) != len(expected):
        shown = len(got) if isinstance(got, tuple) else 1
        return "FAIL", f"returns {shown} results, must return {len(expected)}: {', '.join(names)}"
    largest = 0.0
    wrong = []
    for name, g, e in zip(names, got, expected, strict=True):
        sentence = difference(g, e, name, formula, tolerance, labels)
        if sentence:
            wrong.append(sentence)
        elif g.size:
            finite = np.isfinite(e)
            largest = max(largest, float(np.abs(g[finite] - e[finite]).max(initial=0)))
    if wrong:
        return "FAIL", "; ".join(wrong)
    return "ok", f"largest difference {number(largest)}"


def fingerprint(
    results: Sequence[tuple[Case, Any]],
    reference: Function,
    known: Sequence[Mistake],
    tolerance: tuple[float, float],
    fixed: Mapping[str, Any],
    *,
    pairs: bool = True,
) -> list[str]:
    """Return the sentences of the mistakes that reproduce every result; of pairs of mistakes if no single one does."""
    seen = [(case, got) for case, got in results if got is not None and not case.note]
    if not seen:
        return []

    def explains(switches: Mapping[str, Any]) -> bool:
        for case, got in seen:
            expected, problem = attempt(lambda case=case: reference(**case.inputs, **{**fixed, **switches}))  # type: ignore[misc]
            if problem or not same(got, expected, tolerance):
                return False
        return True

    found = [m.sentence for m in known if explains(m.switches)]
    if found:
        return [f"This matches a common mistake: {' or, equivalently on these inputs, '.join(found)}."]
    for one, two in itertools.combinations(known, 2) if pairs else ():
        if not set(one.switches) & set(two.switches) and explains({**one.switches, **two.switches}):
            return [f"This matches two common mistakes together: {one.sentence}; and {two.sentence}."]
    return []


# ------------------------------------------------------------------------------------------------ gradients


def gradients(
    function: Function, inputs: Mapping[str, Any], upstream: Array, wanted: Iterable[str]
) -> dict[str, Array]:
    """Return d sum(upstream * function) / d input for each wanted input, by the complex-step derivative.

    f'(x) = Im f(x + ih) / h is exact to rounding, because nothing is subtracted (Squire and Trapp, 1998). The function
    must be analytic, as all references here are.
    """
    found = {}
    for name in wanted:
        value = np.asarray(inputs[name])
        gradient = np.empty(value.size)
        for i in range(value.size):
            moved = value.astype(complex)
            moved.flat[i] += 1j * STEP
            gradient[i] = np.sum(upstream * np.imag(function(**{**inputs, name: moved}))) / STEP
        found[name] = gradient.reshape(value.shape)
    return found


def torch_gradients(output: Any, upstream: Array, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return autograd's gradients of sum(upstream * output) by name; None where no gradient arrives."""
    import torch

    if not output.requires_grad:
        return dict.fromkeys(inputs)
    total = (output * torch.from_numpy(np.asarray(upstream)).to(output.dtype)).sum()
    found = torch.autograd.grad(total, list(inputs.values()), allow_unused=True)
    return dict(zip(inputs, found, strict=True))


def compare_gradients(
    report: Report,
    got: Mapping[str, Any],
    expected: Mapping[str, Array],
    dtype: str = "float64",
    source: str = "autograd",
) -> bool:
    """Add a row for each gradient. Returns whether all are correct."""
    good = True
    for name, right in expected.items():
        mine = got.get(name)
        if mine is None:
            sentence: str | None = f"no gradient reaches {name}: is it detached, or converted to NumPy on the way?"
            if not np.abs(right).max(initial=0) > 1e-12:
                sentence = None
        else:
            sentence = difference(to_array(mine), right, f"d{name}", "the analytic gradient", TOLERANCE[dtype])
        report.add(f"gradient of {name}", "FAIL" if sentence else "ok", sentence or source)
        good = good and sentence is None
    return good
