"""What the heatmap shows is what it was given; it is drawn without a screen and without pyplot."""

import os
import subprocess
import sys

import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared.viz.attention import as_weights


def softmax(*shape):
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), size=shape[:-1])


def panels(figure):
    return [axis for axis in figure.axes if axis.images]


def test_no_pyplot_and_no_screen(tmp_path):
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


def test_panel_l_h_of_the_heatmap_is_attn_l_h(render, texts):
    attn = softmax(2, 3, 5, 5)
    figure = render(viz.attention_heatmap(attn, "a b\n$", title="$ title"))
    drawn = panels(figure)
    assert len(drawn) == 6
    for panel, axis in enumerate(drawn):
        np.testing.assert_array_equal(axis.images[0].get_array(), attn[divmod(panel, 3)])
        assert axis.images[0].get_clim() == (0, attn.max())  # one scale for all
    assert texts(drawn[3].get_xticklabels()) == ["a", "␣", "b", "⏎", "$"]
    assert texts(drawn[3].get_yticklabels()) == ["a", "␣", "b", "⏎", "$"]
    assert drawn[4].get_ylabel() == ""
    assert (drawn[3].get_ylabel(), drawn[2].get_title()) == ("layer 1 · query", "head 2")


def test_attention_over_another_sequence_has_its_own_tokens(render, texts):
    attn = softmax(1, 2, 3, 4)
    figure = render(viz.attention_heatmap(attn, ["ein", " Hund", "🐕"], keys=["a", " dog", "<eos>", "\x00"]))
    first = panels(figure)[0]
    assert texts(first.get_yticklabels()) == ["ein", "␣Hund", "U+1F415"]
    assert texts(first.get_xticklabels()) == ["a", "␣dog", "<eos>", "\\x00"]


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4), (6, 4, 4), (1, 1, 1, 1), (3, 12, 8, 8)])
def test_fewer_axes_are_one_layer_or_one_head(render, shape):
    attn = softmax(*shape)
    figure = render(viz.attention_heatmap(attn))
    assert len(panels(figure)) == np.prod(shape[:-2])
    np.testing.assert_array_equal(panels(figure)[-1].images[0].get_array(), attn.reshape(-1, *shape[-2:])[-1])


def test_a_list_of_layers_is_taken_and_a_masked_row_of_zeros(render):
    layers = [np.zeros((2, 3, 3)), softmax(2, 3, 3)]
    np.testing.assert_array_equal(as_weights(layers), np.stack(layers))
    render(viz.attention_heatmap(np.zeros((3, 3))))


def test_long_sequences_have_fewer_labels_that_stand_at_their_places(render, texts):
    figure = render(viz.attention_heatmap(softmax(2, 8, 120, 120), [f"t{i}" for i in range(120)]))
    axis = panels(figure)[8]
    places = [int(p) for p in axis.get_yticks()]
    assert texts(axis.get_yticklabels()) == [f"t{p}" for p in places]
    assert 10 < len(places) < 60


@pytest.mark.parametrize(
    ("attn", "options", "says"),
    [
        (softmax(1, 1, 1, 2, 2), {}, "no batch"),
        ([0.5, 0.5], {}, "has 1 axes"),
        (-softmax(2, 2), {}, "scores before softmax"),
        (softmax(2, 2), {"tokens": "abc"}, "tokens: 3 tokens for 2 positions"),
        (softmax(2, 3), {"tokens": "ab", "keys": "ab"}, "keys: 2 tokens for 3 positions"),
        ([[np.nan]], {}, "not finite"),
    ],
)
def test_what_is_no_attention_is_an_error(attn, options, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        viz.attention_heatmap(attn, **options)
    with pytest.raises(ValueError, match=says):
        viz.attention_html(attn, path=tmp_path / "x.html", **options)
    assert list(tmp_path.iterdir()) == []
