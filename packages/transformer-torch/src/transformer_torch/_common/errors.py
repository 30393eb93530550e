# Vendored: edit shared/vendored/errors.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Exceptions and argument checks with one form of message: `n_heads` must divide `d_model` = 8, got 3."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any


class DivergenceError(ValueError):
    """Raised when a training loss becomes NaN or infinite. The last checkpoint is still valid."""


class MissingDependencyError(ImportError):
    """Raised when an optional dependency is not installed. The message is the install command."""


def invalid(name: str, condition: str, value: Any, fix: str = "") -> ValueError:
    """Return the error for a bad value, in the form that every package uses.

    >>> print(invalid("d_model", "be at least 1", 0))
    `d_model` must be at least 1, got 0
    """
    shown = repr(value)
    if len(shown) > 200:
        shown = f"{shown[:200]}…"
    return ValueError(f"`{name}` must {condition}, got {shown}{'. ' + fix if fix else ''}")


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer: an int or a NumPy integer, but not a bool."""
    return not isinstance(value, bool) and hasattr(value, "__index__") and getattr(value, "ndim", 0) == 0


def is_real(value: Any) -> bool:
    """Return whether a value is a finite real number: an int, a float or a NumPy scalar, but not a bool."""
    if isinstance(value, bool | str | bytes) or getattr(value, "ndim", 0) != 0:
        return False
    if not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        return False
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError):  # an integer beyond every float; a number without a float value
        return False


def check_integer(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise ValueError unless `value` is an integer of at least `least` and, if given, at most `most`."""
    fits = is_integer(value) and value >= least and (most is None or value <= most)
    if not fits:
        bounds = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
        raise invalid(name, f"be {bounds}", value)


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number above 0."""
    if not (is_real(value) and value > 0):
        raise invalid(name, "be a finite number above 0", value)


def check_not_negative(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    if not (is_real(value) and value >= 0):
        raise invalid(name, "be a finite number of at least 0", value)


def check_fraction(name: str, value: Any, *, one: bool = False, zero: bool = True) -> None:
    """Raise ValueError unless `value` is in [0, 1). `one` includes 1; `zero=False` excludes 0."""
    above = is_real(value) and (value >= 0 if zero else value > 0)
    if not (above and (value <= 1 if one else value < 1)):
        raise invalid(name, f"be in {'[' if zero else '('}0, 1{']' if one else ')'}", value)


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise invalid(name, f"be one of {', '.join(choices)}", value)


def check_divides(name: str, value: int, whole_name: str, whole: int) -> None:
    """Raise ValueError unless `value` divides `whole`.

    >>> check_divides("n_heads", 3, "d_model", 8)
    Traceback (most recent call last):
    ValueError: `n_heads` must divide `d_model` = 8, got 3
    """
    if whole % value:
        raise invalid(name, f"divide `{whole_name}` = {whole}", value)


def check_bool(config: object, names: Iterable[str]) -> None:
    """Raise ValueError unless each named attribute of `config` is True or False."""
    for name in names:
        if not isinstance(value := getattr(config, name), bool):
            raise invalid(name, "be True or False", value)
