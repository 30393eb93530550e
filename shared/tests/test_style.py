"""Colours that keep apart: in print, in grey, and for the colour-blind. Tokens that can be read."""

import io
from itertools import combinations

import numpy as np
import pytest
from dlpapers_shared.viz import style
from matplotlib import colormaps
from matplotlib.colors import to_rgb

# What the three kinds of dichromats see, in linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.
SEEN = {
    "everyone": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colors, eyes="everyone"):
    """CIELAB of sRGB colours as some eyes see them."""
    rgb = np.array([to_rgb(c) for c in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SEEN[eyes]).T, 0, 1)
    ratio = seen @ XYZ.T / np.array([0.95047, 1, 1.08883])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("eyes", SEEN)
def test_no_two_line_colours_look_alike(eyes):
    points = lab(style.PALETTE, eyes)
    assert min(np.linalg.norm(a - b) for a, b in combinations(points, 2)) > 30


def test_line_colours_differ_in_grey_print_and_from_the_paper():
    lightness = np.sort(lab(style.PALETTE)[:, 0])
    assert np.diff(lightness).min() > 11
    assert lightness.max() < 75


def test_the_first_twelve_lines_differ_in_colour_or_dashes():
    styles = [str(style.line_style(i)) for i in range(12)]
    assert len(set(styles)) == 12
    assert len({str(style.line_style(i)["linestyle"]) for i in range(4)}) == 4


def test_weights_go_from_white_to_dark_by_even_steps():
    lightness = lab(style.WEIGHTS(np.arange(0, 256, 5)))[:, 0]
    steps = -np.diff(lightness)
    assert lightness[0] > 99.9
    assert lightness[-1] < 10
    assert steps.min() > 0.8 * steps.mean()
    assert steps.max() < 1.2 * steps.mean()


def test_signed_values_keep_their_order_in_grey():
    steps = np.diff(lab(colormaps[style.SIGNED](np.linspace(0, 1, 65)))[:, 0])
    assert steps.min() > 0


# ------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("token", "written"),
    [
        (" the", "␣the"),
        ("a\n\tb", "a⏎⇥b"),
        ("", "∅"),
        ("\r\x07\x85", "\\r\\x07\\x85"),
        ("\u2028\u200b", "\\u2028\\u200b"),
        (b"caf\xc3\xa9", "café"),
        (b"\xf0\x9f", "\\xf0\\x9f"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\udc80", "\\udc80"),
        ("<b>&amp;$x$", "<b>&amp;$x$"),
    ],
)
def test_a_token_is_written_so_that_it_can_be_read(token, written):
    assert style.visible(token) == written


def test_long_tokens_are_cut_and_signs_without_a_glyph_are_numbered():
    assert style.visible("abcdef", limit=4) == "abc…"
    assert style.visible("abcd", limit=4) == "abcd"
    assert style.drawn(["é", "🐕"]) == ["é", "U+1F415"]


# ------------------------------------------------------------------------------------------------- arrays


class Tensor:
    """What of a torch tensor the figures use: it needs a gradient and lies elsewhere."""

    def __init__(self, values):
        self.values, self.ready = np.array(values), []

    def __array__(self, *args, **kwargs):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")

    def detach(self):
        self.ready.append("detach")
        return self

    def cpu(self):
        self.ready.append("cpu")
        return self

    def double(self):
        self.ready.append("double")
        return self

    def numpy(self):
        assert self.ready == ["detach", "cpu", "double"]
        return self.values


def test_arrays_come_in_whatever_holds_them():
    np.testing.assert_array_equal(style.array([[1, 2], [3, 4]], "x"), [[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(style.array(Tensor([1, 2]), "x"), [1, 2])
    np.testing.assert_array_equal(style.array([Tensor([1, 2]), Tensor([3, 4])], "x"), [[1, 2], [3, 4]])


@pytest.mark.parametrize("bad", [[], [1, np.nan], [np.inf], [[1], [1, 2]], "text"])
def test_what_cannot_be_drawn_is_named(bad):
    with pytest.raises(ValueError, match="weights:"):
        style.array(bad, "weights")


def test_a_notebook_is_given_the_picture_itself():
    from PIL import Image

    figure = style.Figure(figsize=(2, 1), dpi=50)
    figure.subplots()
    assert Image.open(io.BytesIO(figure._repr_png_())).size == (100, 50)
