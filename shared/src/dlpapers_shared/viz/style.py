"""The common look of all figures: colors, fonts, sizes; how arrays are read and how tokens are written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, ParamSpec

import matplotlib
import matplotlib.figure
import numpy as np
from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from dlpapers_shared._common.errors import check_choice, invalid

Array = NDArray[np.float64]
Token = str | bytes
Arguments = ParamSpec("Arguments")

# Six colors found by search: any two are at least 30 apart in CIELAB, also for each of the three kinds of color
# blindness, and at least 11 apart in lightness, so that they differ in grayscale print.
PALETTE = ("#2326ff", "#fe571c", "#490003", "#28bdf2", "#5a1082", "#b0574b")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))
# For dark paper, found by the same search.
PALETTE_DARK = ("#9cbafd", "#d88505", "#ffffff", "#e12476", "#47fa8e", "#7719e3")
# From white (no weight, no ink) to near black in even steps of CIELAB lightness.
WEIGHTS = LinearSegmentedColormap.from_list(
    "weights",
    [
        *("#ffffff", "#ece9e3", "#e5d0bb", "#ebb28f", "#f48e6a", "#f4685c", "#e04c67"),
        *("#c03a76", "#9b2e7f", "#772281", "#55147d", "#321067", "#180f3d"),
    ],
)
# The same on dark paper: from nearly black (no weight) to white, for the explorer in dark mode.
WEIGHTS_DARK = LinearSegmentedColormap.from_list(
    "weights on dark paper",
    [
        *("#15131f", "#2a1250", "#43156e", "#5f1a7e", "#7d2482", "#9b2e7f", "#bb3a76"),
        *("#d94f68", "#f0705c", "#f4956c", "#ebb890", "#ebd8c6", "#ffffff"),
    ],
)
SIGNED = "cividis"  # even in lightness; nearly the same for color-blind readers


@dataclass(frozen=True)
class Theme:
    """Colors of a figure: paper, text, secondary text, thin lines, the lines of a plot, and attention weights."""

    paper: str
    ink: str
    gray: str
    line: str
    palette: tuple[str, ...]
    weights: LinearSegmentedColormap

    @property
    def look(self) -> Any:
        """Matplotlib settings."""
        colors = {
            **dict.fromkeys(("figure.facecolor", "savefig.facecolor", "axes.facecolor"), self.paper),
            **dict.fromkeys(("text.color", "axes.titlecolor", "axes.labelcolor"), self.ink),
            **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), self.ink),
            **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), self.gray),
            "grid.color": self.line,
        }
        return SIZES | colors


SIZES: dict[str, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.size": 10,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "lines.linewidth": 1.8,
}
LIGHT = Theme("#ffffff", "#1c1c28", "#5a5a68", "#d5d5de", PALETTE, WEIGHTS)
DARK = Theme("#15131f", "#ecebf2", "#a9a7b8", "#3a3848", PALETTE_DARK, WEIGHTS_DARK)
THEMES = {"light": LIGHT, "dark": DARK}
LOOK: Any = LIGHT.look
"""Matplotlib settings of every figure. In a notebook: `matplotlib.rcParams.update(viz.LOOK)`."""

_theme = ContextVar("theme", default=LIGHT)


@contextmanager
def theme(name: str) -> Iterator[None]:
    """Make the figures of a `with` block in the theme "light" (the default) or "dark"."""
    check_choice("theme", name, THEMES)
    token = _theme.set(THEMES[name])
    try:
        yield
    finally:
        _theme.reset(token)


def current() -> Theme:
    """Return the theme of new figures."""
    return _theme.get()


class Figure(matplotlib.figure.Figure):
    """A figure in the common look that a notebook displays, although pyplot does not know of it.

    `savefig` writes 200 pixels per inch unless told otherwise; a notebook shows it sharp at half that size.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.look = current().look
        super().__init__(*args, **options)

    def draw(self, renderer: RendererBase) -> None:
        """Draw with the common look, because matplotlib makes ticks and their labels only now."""
        with matplotlib.rc_context(self.look):
            super().draw(renderer)

    def savefig(self, fname: Any, *, transparent: bool | None = None, **options: Any) -> None:
        """Write the figure in the format that the name of the file states, such as .png or .svg."""
        with matplotlib.rc_context(self.look):
            super().savefig(fname, transparent=transparent, **options)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * self.dpi)
        width, height = (round(inches * self.dpi) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


def with_look(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Decorate a function that makes a figure: it works with the common look."""

    @wraps(draw)
    def wrapped(*args: Arguments.args, **options: Arguments.kwargs) -> Figure:
        with matplotlib.rc_context(current().look):
            return draw(*args, **options)

    return wrapped


def set_title(figure: Figure, axis: Axes | None, title: str | None) -> None:
    """Write the title of a figure, over the left edge of its one axis or centered over several axes."""
    if title and axis is not None:
        axis.set_title(title, loc="left", pad=10, parse_math=False)
    elif title:
        figure.suptitle(title, parse_math=False)


def line_style(number: int) -> dict[str, Any]:
    """Return color and dashes of line `number`; the first twelve lines differ."""
    palette = current().palette
    return {"color": palette[number % len(palette)], "linestyle": DASHES[number % len(DASHES)]}


def short_number(value: float) -> str:
    """Format a number for a label with at least three significant digits, so that small ones never become 0.000.

    >>> short_number(2.25), short_number(0.00012), short_number(12345.678), short_number(0.0)
    ('2.250', '0.00012', '12,345.678', '0')
    """
    if value == 0:
        return "0"
    return f"{value:,.3f}" if 0.1 <= abs(value) < 1e6 else f"{value:.3g}"


def array(value: Any, name: str) -> Array:
    """Return numbers (a list, a NumPy array, a torch tensor) as a float64 array.

    Raises: ValueError for what holds no numbers, for ragged lists, and for values that are not finite.
    """
    if isinstance(value, list | tuple):
        value = [array(item, name) if hasattr(item, "detach") else item for item in value]
    if hasattr(value, "detach"):  # a tensor may need a gradient, be on another device, be bfloat16
        value = value.detach().cpu().double().numpy()
    try:
        given = np.asarray(value)
        if given.dtype.kind in "OSUcMm":  # objects, text, complex numbers, dates
            raise TypeError(f"its dtype is {given.dtype}")
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be an array of numbers ({error})") from error
    if numbers.size == 0:
        raise ValueError(f"`{name}` must not be empty, got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"`{name}` must be finite, got {numbers[~np.isfinite(numbers)][0]}")
    return numbers


def visible(token: Token, limit: int | None = None) -> str:
    r"""Write a token so that it can be read: ␣ for a space, ⏎ ⇥ for breaks, \x07 for control characters.

    limit: the largest length; a longer text ends in ….

    >>> visible(" the"), visible("a\nb"), visible(b"\xff"), visible("")
    ('␣the', 'a⏎b', '\\xff', '∅')
    """
    text = token.decode("utf-8", "backslashreplace") if isinstance(token, bytes) else token
    text = text.translate({ord(" "): "␣", ord("\n"): "⏎", ord("\t"): "⇥"})
    text = "".join(c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode() for c in text) or "∅"
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


JOINERS = "\u200d\ufe0f"  # not printable by themselves, but parts of emoji


def font_labels(tokens: Sequence[Token], limit: int = 14) -> list[str]:
    """Write tokens for a figure: as `visible`, with U+… for characters that none of the figure's fonts has.

    The fonts are those of `matplotlib.rcParams["font.family"]`, which may be a list.
    """
    families = matplotlib.rcParams["font.family"]
    families = (families,) if isinstance(families, str) else tuple(families)
    known = frozenset().union(*(_characters(path) for path in _font_files(families)))
    return ["".join(c if ord(c) in known else f"U+{ord(c):X}" for c in visible(t, limit)) for t in tokens]


def _font_files(families: Sequence[str]) -> list[str]:
    """Return the files of the families that are installed, or of matplotlib's default font."""
    found = []
    for family in families:
        try:
            properties = font_manager.FontProperties(family=[family])
            found.append(str(font_manager.findfont(properties, fallback_to_default=False)))
        except ValueError:  # not installed: matplotlib uses the others
            continue
    return found or [str(font_manager.findfont(font_manager.FontProperties()))]


@cache
def _characters(font: str) -> frozenset[int]:
    return frozenset(ft2font.FT2Font(font).get_charmap())


def labels_for(tokens: Sequence[Token] | None, count: int, name: str) -> list[Token]:
    """Return one token for each of `count` positions; without tokens, the numbers of the positions."""
    if tokens is None:
        return [str(i) for i in range(count)]
    if len(tokens) != count:
        raise invalid(name, f"hold one token for each of {count} positions", len(tokens))
    return list(tokens)
