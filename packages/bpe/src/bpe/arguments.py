"""Checks of what callers pass in: ids and texts of every type are accepted exactly or refused with one clear error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from bpe._common.errors import invalid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    IdSequence = Iterable[int] | NDArray[np.integer[Any]]
    """Ids: a list, tuple, range or iterator of integers, or a one-dimensional integer array or tensor."""


def check_ids(ids: IdSequence) -> Sequence[int] | NDArray[np.integer[Any]]:
    """Return ids as a list, tuple or integer array that can be read twice. Elements are not looked at.

    Raises: ValueError for text, bytes, sets, mappings, single numbers, and arrays of another shape or dtype.
    """
    if isinstance(ids, list | tuple):
        return ids
    if isinstance(ids, str | bytes | bytearray | AbstractSet | Mapping):
        raise invalid("ids", "be a sequence of integers", ids)
    dtype = getattr(ids, "dtype", None)
    if dtype is not None:  # an array of NumPy, or a tensor of another library
        shape = tuple(getattr(ids, "shape", ()))
        if len(shape) != 1:
            raise ValueError(
                f"`ids` must have one dimension, got the shape {shape}. For several texts use decode_batch"
            )
        kind = getattr(dtype, "kind", None)
        if kind not in ("i", "u") and (kind is not None or "int" not in str(dtype)):
            raise ValueError(f"`ids` must have an integer dtype, got {dtype}")
        array: Any = ids
        return array if hasattr(array, "ctypes") else array.tolist()  # NumPy's arrays have `ctypes`
    try:
        return list(ids)
    except TypeError:
        raise invalid("ids", "be a sequence of integers", ids) from None


def check_texts(texts: Iterable[str], name: str = "texts") -> Sequence[str]:
    """Return texts as a list or tuple. Raises: ValueError for a single str, and for elements that are not str."""
    if isinstance(texts, str | bytes | bytearray | Mapping):
        raise invalid(name, "be a list or an iterator of str", texts)
    try:
        found = texts if isinstance(texts, list | tuple) else list(texts)
    except TypeError:
        raise invalid(name, "be a list or an iterator of str", texts) from None
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise invalid(f"{name}[{i}]", "be a str", text)
    return found


def repair_surrogates(text: str) -> str:
    r"""Join surrogate pairs to the character that they encode and replace lone surrogates by U+FFFD, as tiktoken does.

    >>> repair_surrogates("\ud83d\udc4d \ud83d")
    '👍 �'
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def repaired(text: str) -> str:
    """Return the text itself if UTF-8 can encode it, else with `repair_surrogates`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return repair_surrogates(text)
    return text


def not_a_text(text: object) -> ValueError:
    """Return the error for a text of another type than str."""
    return invalid("text", "be a str", text)
