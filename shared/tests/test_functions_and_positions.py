"""Positional encodings and activation functions against their definitions."""

import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared.viz.activations import ACTIVATIONS, derivative


def sinusoids(positions, d_model):
    """Section 3.5 of 1706.03762, element by element."""
    at = lambda p, i: p / 10000 ** (2 * (i // 2) / d_model)  # noqa: E731
    return np.array([[(np.cos if i % 2 else np.sin)(at(p, i)) for i in range(d_model)] for p in range(positions)])


def test_positional_encoding_shows_the_table_and_the_cosines(render):
    pe = sinusoids(50, 16)
    figure = render(viz.positional_encoding(pe, title="T"))
    whole, curves, alike = figure.axes[:3]
    np.testing.assert_array_equal(whole.images[0].get_array(), pe)
    for line in curves.lines:
        np.testing.assert_array_equal(line.get_ydata(), pe[:, int(line.get_label())])
    assert len(curves.lines) == 4
    cosine = alike.images[0].get_array()
    np.testing.assert_allclose(np.diag(cosine), 1)
    # sinusoids: the similarity depends on the distance alone
    for distance in (1, 7):
        np.testing.assert_allclose(np.diag(cosine, distance), cosine[0, distance], rtol=1e-12)


def test_outlier_does_not_set_the_scale_and_a_row_of_zeros_has_cosine_zero(render):
    table = np.random.default_rng(0).normal(size=(64, 32))
    table[0] = 0
    table[3, 4] = 1000
    figure = render(viz.positional_encoding(table))
    assert figure.axes[0].images[0].get_clim()[1] < 5
    assert np.isfinite(figure.axes[2].images[0].get_array()).all()
    render(viz.positional_encoding(np.zeros((2, 1))))
    with pytest.raises(ValueError, match=r"`pe` must have shape .*got \(2, 3, 4\)"):
        viz.positional_encoding(np.zeros((2, 3, 4)))


SLOPES = {
    "ReLU": lambda x: (x > 0).astype(float),
    "SiLU": lambda x: (1 + np.exp(-x) + x * np.exp(-x)) / (1 + np.exp(-x)) ** 2,
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "sigmoid": lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
}
# GELU at -2, -1, 0.5, 2: x Phi(x) and its approximation, computed from the definitions with 30 digits
GELU = {
    "GELU": [-0.045500263896358, -0.158655253931457, 0.345731230637007, 1.954499736103642],
    "GELU (tanh)": [-0.045402305912225, -0.158808009391723, 0.345714009825144, 1.954597694087775],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_functions_and_derivatives_match_their_definitions(name):
    x = np.array([-2, -1, 0.5, 2])
    if name in GELU:
        np.testing.assert_allclose(ACTIVATIONS[name](x), GELU[name], rtol=1e-12)
    if name in SLOPES:
        np.testing.assert_allclose(derivative(ACTIVATIONS[name], x), SLOPES[name](x), atol=1e-9)


def test_functions_are_left_and_derivatives_right(render, texts):
    figure = render(viz.activations({"square": lambda x: x * x, "$cube$": lambda x: x**3}, low=-1, high=2))
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}, {line.get_label(): line for line in right.lines}
    x = lines[0]["square"].get_xdata()
    assert (x[0], x[-1]) == (-1, 2)
    np.testing.assert_allclose(lines[0]["$cube$"].get_ydata(), x**3)
    np.testing.assert_allclose(lines[1]["square"].get_ydata(), 2 * x, atol=1e-8)
    np.testing.assert_allclose(lines[1]["$cube$"].get_ydata(), 3 * x**2, atol=1e-8)
    assert texts(render(viz.activations()).axes[0].get_legend().get_texts()) == list(ACTIVATIONS)


@pytest.mark.parametrize(
    ("functions", "options", "says"),
    [
        ({}, {}, "`functions` must name at least one"),
        ({"sum": np.sum}, {}, r"must keep the shape \(1601,\), got \(\) from sum"),
        (None, {"low": 1, "high": 1}, "`low` must be less than `high` = 1, got 1"),
    ],
)
def test_bad_functions_are_an_error(functions, options, says):
    with pytest.raises(ValueError, match=says):
        viz.activations(functions, **options)
