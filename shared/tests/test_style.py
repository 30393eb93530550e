"""Colors that differ in print, in grayscale and for color-blind readers; readable tokens; arrays."""

import io
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared.viz import style
from matplotlib import colormaps
from matplotlib.colors import to_rgb

# Color vision of the three kinds of dichromats, in linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.
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
    """CIELAB of sRGB colors for one kind of color vision."""
    rgb = np.array([to_rgb(c) for c in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SEEN[eyes]).T, 0, 1)
    ratio = seen @ XYZ.T / np.array([0.95047, 1, 1.08883])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("theme", style.THEMES.values(), ids=style.THEMES)
@pytest.mark.parametrize("eyes", SEEN)
def test_all_line_colors_differ(eyes, theme):
    points = lab(theme.palette, eyes)
    assert min(np.linalg.norm(a - b) for a, b in combinations(points, 2)) > 30


@pytest.mark.parametrize("theme", style.THEMES.values(), ids=style.THEMES)
def test_line_colors_differ_in_grayscale_and_from_the_paper(theme):
    lightness = np.sort(lab(theme.palette)[:, 0])
    assert np.diff(lightness).min() > 11
    assert abs(lightness - lab([theme.paper])[0, 0]).min() > 25


@pytest.mark.parametrize("theme", style.THEMES.values(), ids=style.THEMES)
def test_text_has_contrast(theme):
    paper, ink, gray = lab([theme.paper, theme.ink, theme.gray])[:, 0]
    assert abs(ink - paper) > 80
    assert abs(gray - paper) > 50


def test_first_twelve_lines_differ_in_color_or_dashes():
    styles = [str(style.line_style(i)) for i in range(12)]
    assert len(set(styles)) == 12
    assert len({str(style.line_style(i)["linestyle"]) for i in range(4)}) == 4


@pytest.mark.parametrize("theme", style.THEMES.values(), ids=style.THEMES)
def test_weight_colors_go_from_the_paper_to_its_opposite(theme):
    lightness = lab(theme.weights(np.arange(0, 256, 5)))[:, 0]
    assert abs(lightness[0] - lab([theme.paper])[0, 0]) < 0.1
    assert abs(lightness[-1] - lightness[0]) > 88
    assert (np.sign(np.diff(lightness)) == np.sign(lightness[-1] - lightness[0])).all()


def test_weight_colors_have_even_steps_of_lightness():
    steps = -np.diff(lab(style.WEIGHTS(np.arange(0, 256, 5)))[:, 0])
    assert steps.min() > 0.8 * steps.mean()
    assert steps.max() < 1.2 * steps.mean()


def test_signed_colors_keep_their_order_in_grayscale():
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
def test_token_is_written_readably(token, written):
    assert style.visible(token) == written


def test_long_tokens_are_cut():
    assert style.visible("abcdef", limit=4) == "abc…"
    assert style.visible("abcd", limit=4) == "abcd"


def test_characters_that_no_font_has_are_written_by_number():
    assert style.font_labels(["é", "🐕"]) == ["é", "U+1F415"]


def test_each_font_of_a_list_is_used():
    only_in_stix = "\u20e5"  # matplotlib ships both fonts
    assert style.font_labels([only_in_stix]) == ["U+20E5"]
    for families in (["DejaVu Sans", "STIXGeneral"], ["no such font", "STIXGeneral"]):
        with matplotlib.rc_context({"font.family": families}):
            assert style.font_labels([only_in_stix, "a"]) == [only_in_stix, "a"]
    with matplotlib.rc_context({"font.family": ["no such font"]}):
        assert style.font_labels(["a"]) == ["a"]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (2.25, "2.250"),
        (0.1, "0.100"),
        (0.00012, "0.00012"),
        (0.0512, "0.0512"),
        (0, "0"),
        (-0.002, "-0.002"),
        (1e-9, "1e-09"),
    ],
)
def test_small_numbers_keep_three_digits(value, label):
    assert style.short_number(value) == label


# ------------------------------------------------------------------------------------------------- arrays


class Tensor:
    """The methods of a torch tensor that figures use; it requires a gradient."""

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


def test_lists_arrays_and_tensors_become_float64_arrays():
    np.testing.assert_array_equal(style.array([[1, 2], [3, 4]], "x"), [[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(style.array(Tensor([1, 2]), "x"), [1, 2])
    np.testing.assert_array_equal(style.array([Tensor([1, 2]), Tensor([3, 4])], "x"), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "bad",
    [[], [1, np.nan], [np.inf], [[1], [1, 2]], "text", "1.5", ["1", "2"], [None], [1 + 2j], np.array([1j]), {"a": 1}],
)
def test_values_that_are_not_finite_numbers_are_an_error(bad):
    with pytest.raises(ValueError, match="`weights` must"):
        style.array(bad, "weights")


def test_notebook_displays_a_figure_sharply():
    from PIL import Image

    figure = style.Figure(figsize=(2, 1), dpi=50)
    figure.subplots()
    png, size = figure._repr_png_()
    assert Image.open(io.BytesIO(png)).size == (200, 100)
    assert size == {"width": 100, "height": 50}  # of the image in the page


def test_saved_figure_has_200_pixels_per_inch_and_can_be_svg(tmp_path):
    from PIL import Image

    figure = style.Figure(figsize=(2, 1))
    figure.subplots()
    figure.savefig(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (400, 200)
    figure.savefig(tmp_path / "x.svg")
    assert "<svg" in (tmp_path / "x.svg").read_text(encoding="utf-8")


def test_dark_theme_holds_for_the_whole_figure_and_ends_with_the_block(render):
    with viz.theme("dark"):
        figure = viz.next_token_bars([0.5, 0.5], title="Title")
    assert to_rgb(figure.get_facecolor()) == to_rgb(style.DARK.paper)
    (axis,) = render(figure).axes
    assert axis.patches[0].get_facecolor()[:3] == to_rgb(style.DARK.palette[0])
    assert {label.get_color() for label in axis.get_xticklabels()} == {style.DARK.ink}
    assert to_rgb(viz.next_token_bars([1.0]).get_facecolor()) == (1, 1, 1)
    with pytest.raises(ValueError, match="`theme` must be one of light, dark, got 'pink'"), viz.theme("pink"):
        pass


def test_every_figure_has_the_common_look_and_leaves_the_settings_of_the_user(render):
    before = dict(matplotlib.rcParams)
    figure = render(viz.next_token_bars([0.5, 0.5], title="Title"))
    assert dict(matplotlib.rcParams) == before
    (axis,) = figure.axes
    assert axis.title.get_text() == ""
    assert axis._left_title.get_text() == "Title"
    assert axis._left_title.get_weight() == "bold"
    assert not axis.spines["top"].get_visible()
    assert axis.get_xticklabels()[0].get_color() == style.LIGHT.ink
