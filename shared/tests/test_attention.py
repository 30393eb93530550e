"""The heat map shows the given weights, without a display and without pyplot."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared.viz.attention import as_weights, max_pool
from PIL import Image


def softmax(*shape):
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), size=shape[:-1])


def panels(figure):
    return [axis for axis in figure.axes if axis.images]


def test_figures_need_neither_pyplot_nor_a_display(tmp_path):
    code = "import sys, numpy; from dlpapers_shared import viz\n"
    code += "viz.attention_heatmap(numpy.eye(3)).savefig(sys.argv[1])\n"
    code += "print('matplotlib.pyplot' in sys.modules)"
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-c", code, str(tmp_path / "x.png")]
    done = subprocess.run(
        command, env=environment | {"MPLBACKEND": "tkagg"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_panel_l_h_is_attn_l_h_on_one_scale(render, texts):
    attn = softmax(2, 3, 5, 5)
    figure = render(viz.attention_heatmap(attn, "a b\n$", title="$ title"))
    drawn = panels(figure)
    assert len(drawn) == 6
    for panel, axis in enumerate(drawn):
        np.testing.assert_array_equal(axis.images[0].get_array(), attn[divmod(panel, 3)])
        assert axis.images[0].get_clim() == (0, attn.max())  # the same scale for all
    assert texts(drawn[3].get_xticklabels()) == ["a", "␣", "b", "⏎", "$"]
    assert texts(drawn[3].get_yticklabels()) == ["a", "␣", "b", "⏎", "$"]
    assert drawn[4].get_ylabel() == ""
    assert (drawn[3].get_ylabel(), drawn[2].get_title()) == ("layer 1 · query", "head 2")


def test_cross_attention_has_tokens_for_its_keys(render, texts):
    attn = softmax(1, 2, 3, 4)
    figure = render(viz.attention_heatmap(attn, ["ein", " Hund", "🐕"], keys=["a", " dog", "<eos>", "\x00"]))
    first = panels(figure)[0]
    assert texts(first.get_yticklabels()) == ["ein", "␣Hund", "U+1F415"]
    assert texts(first.get_xticklabels()) == ["a", "␣dog", "<eos>", "\\x00"]


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4), (6, 4, 4), (1, 1, 1, 1), (3, 12, 8, 8)])
def test_fewer_axes_mean_one_layer_or_one_head(render, shape):
    attn = softmax(*shape)
    figure = render(viz.attention_heatmap(attn))
    assert len(panels(figure)) == np.prod(shape[:-2])
    np.testing.assert_array_equal(panels(figure)[-1].images[0].get_array(), attn.reshape(-1, *shape[-2:])[-1])


def test_list_of_layers_and_masked_rows_of_zeros_are_accepted(render):
    layers = [np.zeros((2, 3, 3)), softmax(2, 3, 3)]
    np.testing.assert_array_equal(as_weights(layers), np.stack(layers))
    render(viz.attention_heatmap(np.zeros((3, 3))))


def test_long_sequences_have_fewer_labels_at_their_positions(render, texts):
    figure = render(viz.attention_heatmap(softmax(2, 8, 120, 120), [f"t{i}" for i in range(120)]))
    axis = panels(figure)[8]
    places = [int(p) for p in axis.get_yticks()]
    assert texts(axis.get_yticklabels()) == [f"t{p}" for p in places]
    assert 5 < len(places) < 60


@pytest.mark.parametrize(
    ("attn", "options", "says"),
    [
        (softmax(1, 1, 1, 2, 2), {}, "without a batch axis"),
        ([0.5, 0.5], {}, "with 1 axes"),
        (-softmax(2, 2), {}, "Apply softmax to scores first"),
        (softmax(2, 2), {"tokens": "abc"}, "`tokens` must hold one token for each of 2 positions, got 3"),
        (softmax(2, 3), {"tokens": "ab", "keys": "ab"}, "`keys` must hold one token for each of 3 positions, got 2"),
        (np.full((2, 2), 3.0), {}, r"rows that sum to 1, got 6 in row \(0,\)"),
        ([[[0.5, 0.5], [0.5, 0.2]]], {}, r"rows that sum to 1, got 0.7 in row \(0, 1\)"),
        ([[np.nan]], {}, "`attn` must be finite, got nan"),
    ],
)
def test_bad_attention_is_an_error(attn, options, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        viz.attention_heatmap(attn, **options)
    with pytest.raises(ValueError, match=says):
        viz.attention_html(attn, path=tmp_path / "x.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_pooling_keeps_the_largest_weight_of_each_region():
    weights = np.random.default_rng(0).random((10, 7))
    pooled = max_pool(weights, 4, 3)
    for i, rows in enumerate([slice(0, 2), slice(2, 5), slice(5, 7), slice(7, 10)]):
        for j, columns in enumerate([slice(0, 2), slice(2, 4), slice(4, 7)]):
            assert pooled[i, j] == weights[rows, columns].max()
    np.testing.assert_array_equal(max_pool(weights, 10, 20), weights)


def test_previous_token_head_and_first_token_head_are_visible_at_any_size():
    n = 200
    attn = np.zeros((12, 12, n, n))
    attn[:, :6, np.arange(n), np.maximum(0, np.arange(n) - 1)] = 1  # previous token
    attn[:, 6:, :, 0] = 1  # first token
    figure = viz.attention_heatmap(attn)
    figure.savefig(buffer := io.BytesIO(), dpi=100)
    pixels = np.asarray(Image.open(buffer).convert("L"), dtype=int)
    for number, axis in enumerate(panels(figure)):
        box = axis.get_position()
        height, width = pixels.shape
        left, right = round(box.x0 * width) + 2, round(box.x1 * width) - 2
        top, bottom = round((1 - box.y1) * height) + 2, round((1 - box.y0) * height) - 2
        dark = pixels[top:bottom, left:right] < 100
        if number % 12 < 6:
            assert dark.any(axis=1).mean() > 0.95, number  # a line from top to bottom
        else:
            assert dark[:, :4].any(axis=1).mean() > 0.95, number


@pytest.mark.parametrize(("name", "value"), [("power", 0), ("power", np.nan), ("vmax", -1), ("vmax", "x")])
def test_bad_color_scales_are_an_error(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        viz.attention_heatmap(softmax(2, 2), **{name: value})


def test_color_scale_can_show_small_weights(render):
    attn = softmax(1, 2, 8, 8)
    figure = render(viz.attention_heatmap(attn, power=0.5, vmax=0.25))
    norm = panels(figure)[0].images[0].norm
    assert norm(0.0625) == 0.5  # the square root of a quarter of vmax
    assert "power 0.5" in figure.axes[-1].get_ylabel()
