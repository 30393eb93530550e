"""Solution of exercise 2: the diagonal above the main one. The last position has no next token in the input."""

from torch import Tensor


def leaks(mask: Tensor) -> list[int]:
    """Position t must predict token t + 1, which is key t + 1."""
    return [t for t in range(len(mask) - 1) if bool(mask[t, t + 1])]


def _itself(mask: Tensor) -> list[int]:
    return [t for t in range(len(mask)) if bool(mask[t, t])]


def _any_later(mask: Tensor) -> list[int]:
    return [t for t in range(len(mask) - 1) if bool(mask[t, t + 1 :].any())]


WRONG = [{"leaks": _itself}, {"leaks": _any_later}]
