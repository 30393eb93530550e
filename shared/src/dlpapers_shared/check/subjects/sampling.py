"""Check filters of next-token logits: top-k (1805.04833), top-p (1904.09751), and temperature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import Array, settle, to_array, to_backend
from dlpapers_shared.check.engine import Case, Mistake, mistakes
from dlpapers_shared.check.reference.loss import softmax
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import bind, check_options, name_of

DROPPED = -1e8
"""Logits below this count as -inf: some filters write -1e9 or the smallest float."""

TOP_K_MISTAKES = mistakes(
    keep={
        "fewer": "top-k drops the k-th",
        "more": "one token too many is kept: k + 1",
        "smallest": "the k smallest logits are kept instead of the k largest",
        "row": "the threshold of the first row is used for every row",
        "all": "the k largest of the whole batch are kept, not of each row",
        "ignored": "nothing is dropped",
    },
    value={"zero": "dropped logits are set to 0 instead of -inf, so they keep a probability"},
)
TOP_P_MISTAKES = mistakes(
    keep={
        "fewer": "top-p drops the token that crosses p",
        "more": "one token too many is kept after the sum has reached p",
        "ascending": "sums run from the least probable token, so the least probable ones are kept",
        "single": "each probability is compared with p, instead of the cumulative sum",
        "logits": "the cumulative sum of logits instead of probabilities",
        "ignored": "nothing is dropped",
    },
    order={
        "sorted": "the mask of the sorted tokens is applied without undoing the sort",
        "twice": "the order of the sort is applied to the mask instead of its inverse",
    },
    value={"zero": "dropped logits are set to 0 instead of -inf, so they keep a probability"},
)
TEMPERATURE_MISTAKES = mistakes(
    how={
        "times": "multiplies by the temperature",
        "ignored": "the temperature is ignored",
        "probabilities": "probabilities instead of logits are divided by the temperature",
        "after": "the temperature is a power of softmax's result that is not normalized again",
        "square": "divided by the square of the temperature",
        "root": "divided by the square root of the temperature",
    }
)


def reference_top_k(logits: Array, top_k: int, *, keep: str = "", value: str = "") -> Array:
    """Return logits with all but the `top_k` largest of each row at -inf; ties with the k-th are kept."""
    size = logits.shape[-1]
    k = min(size, max(1, top_k + {"fewer": -1, "more": 1}.get(keep, 0)))
    rows = logits.reshape(-1) if keep == "all" else logits
    ranked = np.sort(rows, -1)
    limit = ranked[..., k - 1, None] if keep == "smallest" else ranked[..., -k, None]
    limit = limit[:1] if keep == "row" and logits.ndim > 1 else limit
    kept = logits <= limit if keep == "smallest" else logits >= limit
    if keep == "fewer" and top_k == 1:
        kept = np.zeros_like(kept)
    kept = np.ones_like(kept) if keep == "ignored" else kept
    return np.where(kept, logits, 0.0 if value == "zero" else -np.inf)


def reference_top_p(logits: Array, top_p: float, *, keep: str = "", order: str = "", value: str = "") -> Array:
    """Return logits with all tokens at -inf except the smallest set of most probable ones that reaches `top_p`."""
    p = softmax(logits)
    ranked = np.argsort(p if keep == "ascending" else -p, -1, kind="stable")
    ordered = np.take_along_axis(logits if keep == "logits" else p, ranked, -1)
    before = np.cumsum(ordered, -1) - ordered
    kept = {
        "fewer": before + ordered <= top_p,
        "more": np.concatenate([before[..., :1] < 1, before[..., :-1] < top_p], -1),
        "single": ordered >= top_p,
        "logits": before < top_p,
        "ignored": before < 2,
    }.get(keep, before < top_p)
    if keep not in ("fewer", "single"):
        kept[..., 0] = True
    if order == "sorted":
        mask = kept
    elif order == "twice":
        mask = np.take_along_axis(kept, ranked, -1)
    else:
        mask = np.empty_like(kept)
        np.put_along_axis(mask, ranked, kept, -1)
    return np.where(mask, logits, 0.0 if value == "zero" else -np.inf)


def reference_temperature(logits: Array, temperature: float, *, how: str = "") -> Array:
    """Return logits / temperature, or what a common mistake computes."""
    p = softmax(logits)
    results = {
        "times": logits * temperature,
        "ignored": logits,
        "probabilities": p / temperature,
        "after": p ** (1 / temperature),
        "square": logits / temperature**2,
        "root": logits / temperature**0.5,
    }
    return np.asarray(results.get(how, logits / temperature))


def top_k(implementation: Any, *, dtype: str = "float64", seed: int = 0) -> Report:
    """Compare a top-k filter with the reference: the k largest logits of each row are kept.

    Args:
        implementation: a function f(logits, top_k), logits (batch, vocab_size) or (vocab_size,), that returns logits
            with -inf for dropped tokens (or -1e9 and less), or probabilities. Of equal logits, one or all may be kept.
        dtype: dtype of the logits, float64 or float32. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.

    >>> print(*top_k(lambda logits, k: np.where(logits > np.sort(logits)[..., -k, None], logits, -np.inf)).diagnosis)
    This matches a common mistake: top-k drops the k-th.
    """
    return _check("top-k", implementation, reference_top_k, "top_k", (3, 1, 5, 7), TOP_K_MISTAKES, dtype, seed)


def top_p(implementation: Any, *, dtype: str = "float64", seed: int = 0) -> Report:
    """Compare a top-p (nucleus) filter with the reference: the smallest set of probability p or more is kept.

    Args:
        implementation: a function f(logits, top_p), logits (batch, vocab_size) or (vocab_size,), that returns logits
            with -inf for dropped tokens (or -1e9 and less), or probabilities. At least one token of each row is kept.
        dtype: dtype of the logits, float64 or float32. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.
    """
    return _check(
        "top-p", implementation, reference_top_p, "top_p", (0.8, 0.5, 0.95, 0.01), TOP_P_MISTAKES, dtype, seed
    )


def temperature(implementation: Any, *, dtype: str = "float64", seed: int = 0) -> Report:
    """Compare a temperature with logits / temperature.

    Args:
        implementation: a function f(logits, temperature), logits (batch, vocab_size) or (vocab_size,), that returns
            logits or probabilities.
        dtype: dtype of the logits, float64 or float32. seed: of the random inputs.
    Raises: ValueError if the signature is not clear.

    >>> print(*temperature(lambda logits, temperature: logits * temperature).diagnosis)
    This matches a common mistake: multiplies by the temperature.
    """
    values = (0.5, 2.0, 1.0)
    return _check(
        "temperature", implementation, reference_temperature, "temperature", values, TEMPERATURE_MISTAKES, dtype, seed
    )


def _check(
    subject: str,
    implementation: Any,
    reference: Callable[..., Array],
    argument: str,
    values: Sequence[float],
    known: Sequence[Mistake],
    dtype: str,
    seed: int,
) -> Report:
    check_options(dtype=dtype, seed=seed)
    call = bind(implementation, ("logits", argument))
    rng = np.random.default_rng(seed)
    batch = (2 * rng.normal(size=(4, 9))).astype(dtype)
    backend = settle(implementation, lambda kind: call(logits=to_backend(batch, kind), **{argument: values[0]}))
    report = Report(subject, name_of(implementation), backend)

    def run(logits: Array, **setting: float) -> Array:
        return to_array(call(logits=to_backend(logits, backend), **setting))

    sample, problem = engine.attempt(lambda: run(batch, **{argument: values[0]}))
    rows = batch if not problem and sample.shape == batch.shape else batch[0]
    probabilities = not problem and sample.shape == rows.shape and _are_probabilities(sample)
    if rows.ndim == 1:
        sample, problem = engine.attempt(lambda: run(rows, **{argument: values[0]}))
        probabilities = not problem and _are_probabilities(sample)
        report.add("batches", "note", "raises for (batch, vocab_size); checked with (vocab_size,)")

    def learner(**inputs: Any) -> Array:
        result = run(**inputs)
        return result if probabilities else np.where(result < DROPPED, -np.inf, result)

    def truth(logits: Array, **settings: Any) -> Array:
        result = reference(logits, **settings)
        return softmax(result) if probabilities and settings.get("how") not in ("probabilities", "after") else result

    cases = [Case(f"{argument} = {value}", {"logits": rows, argument: value}) for value in values]
    formula = f"the reference {'probabilities' if probabilities else 'logits'}"
    engine.judge(report, cases, learner, truth, known, formula, dtype=dtype)
    return report


def _are_probabilities(values: Array) -> bool:
    return bool(np.all(values >= 0) and np.allclose(values.sum(-1), 1, atol=1e-5))
