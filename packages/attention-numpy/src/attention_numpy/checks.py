"""Checks of arrays: dtypes, shapes, ids and masks. Each raises one clear ValueError."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_numpy._common.errors import invalid

FLOATS = "efd"  # the characters of float16, float32 and float64


def check_float(name: str, x: object, least_axes: int = 0) -> None:
    """Raise ValueError unless x is a float16, float32 or float64 array of at least `least_axes` axes."""
    if not isinstance(x, np.ndarray) or x.dtype.char not in FLOATS or not x.dtype.isnative:
        raise ValueError(
            f"`{name}` must be a float16, float32 or float64 array, got {getattr(x, 'dtype', type(x).__name__)}"
        )
    if x.ndim < least_axes:
        raise invalid(name, f"have at least {least_axes} axis", x.shape)


def check_mask(mask: object, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `mask` is a boolean array, True = may attend, of shape (queries, keys) or of 4 axes.

    shape: (batch, heads, queries, keys), to which the mask is broadcast. An additive mask (0 = may attend, -inf = may
    not) is refused, because its truth values mean the opposite. So is one of 3 axes, whose first axis could be either.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = getattr(mask, "dtype", type(mask).__name__)
        raise ValueError(
            f"`mask` must be a boolean array, True = may attend, got {got}. Write `mask == 0` for an additive one"
        )
    fits = mask.ndim in (0, 2, len(shape)) and all(
        a in (1, b) for a, b in zip(reversed(mask.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise invalid("mask", f"have the shape {shape[-2:]} or broadcast to {shape} with {len(shape)} axes", mask.shape)


def check_input(name: str, x: Any, dtype: np.dtype[Any], width: int) -> None:
    """Raise ValueError unless x has the parameters' dtype and its last axis has the size `width`."""
    if not isinstance(x, np.ndarray) or x.dtype != dtype:
        got = getattr(x, "dtype", type(x).__name__)
        raise ValueError(f"`{name}` must be an array of the parameters' dtype {dtype}, got {got}")
    if x.ndim < 1 or x.shape[-1] != width:
        raise ValueError(f"`{name}` must have a last axis of size {width}, got shape {x.shape}")


def check_gradient(dy: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError unless dy has the shape and dtype of the output that it is the gradient of."""
    if not isinstance(dy, np.ndarray) or dy.shape != shape or dy.dtype != dtype:
        got = f"{dy.dtype} of shape {dy.shape}" if isinstance(dy, np.ndarray) else type(dy).__name__
        raise ValueError(f"`dy` must be {dtype} of shape {shape}, as the output is, got {got}")


def check_ids(name: str, ids: Any, vocab_size: int) -> None:
    """Raise ValueError unless `ids` is an array of integers from 0 to vocab_size - 1."""
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
        got = getattr(ids, "dtype", type(ids).__name__)
        raise ValueError(f"`{name}` must be an array of integer ids, got {got}")
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        raise invalid(name, f"have ids from 0 to {vocab_size - 1}", int(ids.min() if ids.min() < 0 else ids.max()))
