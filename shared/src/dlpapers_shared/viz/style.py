"""What the figures have in common: colours, how arrays come in, how tokens are written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib import font_manager, ft2font
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

Array = NDArray[np.float64]
Token = str | bytes

# Six colours searched for: any two lie at least 30 apart in CIELAB, also as people with one of the three
# kinds of colour blindness see them, and 11 apart in lightness, so that a grey print tells them apart.
PALETTE = ("#2326ff", "#fe571c", "#490003", "#28bdf2", "#5a1082", "#b0574b")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))
# From white (no weight is no ink) to near black by even steps of lightness in CIELAB.
WEIGHTS = LinearSegmentedColormap.from_list(
    "weights",
    [
        *("#ffffff", "#ece9e3", "#e5d0bb", "#ebb28f", "#f48e6a", "#f4685c", "#e04c67"),
        *("#c03a76", "#9b2e7f", "#772281", "#55147d", "#321067", "#180f3d"),
    ],
)
SIGNED = "cividis"  # even in lightness and nearly the same to the colour-blind
GREY = "#555555"


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows by itself, though pyplot does not know of it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def line_style(number: int) -> dict[str, Any]:
    """Colour and dashes of the n-th line; the first twelve lines differ."""
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": DASHES[number % len(DASHES)]}


def array(value: Any, name: str) -> Array:
    """Anything that holds numbers (a list of them, a NumPy array, a torch tensor) in float64.

    ValueError for what holds none, for ragged lists, and for values that are not finite.
    """
    if isinstance(value, list | tuple):
        value = [array(item, name) if hasattr(item, "detach") else item for item in value]
    if hasattr(value, "detach"):  # a tensor may need a gradient, lie on another device, be bfloat16
        value = value.detach().cpu().double().numpy()
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: not an array of numbers ({error})") from error
    if numbers.size == 0:
        raise ValueError(f"{name}: shape {numbers.shape} holds nothing to draw")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: holds values that are not finite")
    return numbers


def visible(token: Token, limit: int | None = None) -> str:
    r"""A token as it can be read: ␣ for a space, ⏎ ⇥ for breaks, \x07 for what has no sign; cut to `limit`.

    >>> visible(" the"), visible("a\nb"), visible(b"\xff"), visible("")
    ('␣the', 'a⏎b', '\\xff', '∅')
    """
    text = token.decode("utf-8", "backslashreplace") if isinstance(token, bytes) else token
    text = text.translate({ord(" "): "␣", ord("\n"): "⏎", ord("\t"): "⇥"})
    text = "".join(c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode() for c in text) or "∅"
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


JOINERS = "\u200d\ufe0f"  # not printable by themselves, but emoji are built with them


def drawn(tokens: Sequence[Token], limit: int = 14) -> list[str]:
    """Tokens as figures write them: `visible`, and by number what the font of the figure has no sign for."""
    signs = _signs(font_manager.findfont(font_manager.FontProperties()))
    return ["".join(c if ord(c) in signs else f"U+{ord(c):X}" for c in visible(t, limit)) for t in tokens]


@cache
def _signs(font: str) -> frozenset[int]:
    return frozenset(ft2font.FT2Font(font).get_charmap())


def labels_for(tokens: Sequence[Token] | None, count: int, name: str) -> list[Token]:
    """One token for each of `count` positions, the positions' numbers when none are given; ValueError otherwise."""
    if tokens is None:
        return [str(i) for i in range(count)]
    if len(tokens) != count:
        raise ValueError(f"{name}: {len(tokens)} tokens for {count} positions")
    return list(tokens)
