"""What the figures show is what they were given; they are drawn without a screen and without pyplot."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared.viz.attention import as_weights
from dlpapers_shared.viz.functions import ACTIVATIONS, slope
from dlpapers_shared.viz.style import Figure
from dlpapers_shared.viz.tokens import merged
from hypothesis import given, settings
from hypothesis import strategies as st


def softmax(*shape):
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), size=shape[:-1])


def render(figure):
    """Draw it really: a warning (a missing glyph, a layout that fails) would be an error."""
    assert isinstance(figure, Figure)
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def texts(labels):
    return [label.get_text() for label in labels]


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


# ---------------------------------------------------------------------------------------------- attention


def test_panel_l_h_of_the_heatmap_is_attn_l_h():
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


def test_attention_over_another_sequence_has_its_own_tokens():
    attn = softmax(1, 2, 3, 4)
    figure = render(viz.attention_heatmap(attn, ["ein", " Hund", "🐕"], keys=["a", " dog", "<eos>", "\x00"]))
    first = panels(figure)[0]
    assert texts(first.get_yticklabels()) == ["ein", "␣Hund", "U+1F415"]
    assert texts(first.get_xticklabels()) == ["a", "␣dog", "<eos>", "\\x00"]


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4), (6, 4, 4), (1, 1, 1, 1), (12, 12, 16, 16)])
def test_fewer_axes_are_one_layer_or_one_head(shape):
    attn = softmax(*shape)
    figure = render(viz.attention_heatmap(attn))
    assert len(panels(figure)) == np.prod(shape[:-2])
    np.testing.assert_array_equal(panels(figure)[-1].images[0].get_array(), attn.reshape(-1, *shape[-2:])[-1])


def test_a_list_of_layers_is_taken_and_a_masked_row_of_zeros():
    layers = [np.zeros((2, 3, 3)), softmax(2, 3, 3)]
    np.testing.assert_array_equal(as_weights(layers), np.stack(layers))
    render(viz.attention_heatmap(np.zeros((3, 3))))


def test_long_sequences_have_fewer_labels_that_stand_at_their_places():
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


# ---------------------------------------------------------------------------------------------- loss curves


@pytest.fixture
def run(tmp_path):
    """`run("name", rows)` writes a run's metrics.jsonl and returns its folder."""

    def write(name, rows, end=""):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "metrics.jsonl").write_text(lines + end, encoding="utf-8")
        return folder

    return write


def curves(figure):
    """Every line of the figure by its legend: (x, y)."""
    return {line.get_label(): line.get_xydata().T.tolist() for line in figure.axes[0].lines}


def test_the_curves_are_the_losses_of_the_files(run):
    rows = [{"step": 10 * i, "tokens": 80 * i, "loss": 4.0 - i} for i in range(3)]
    rows[2] |= {"val_loss": 2.5}
    rows.append({"step": 25, "tokens": 200, "val_loss": 2.25})
    first, second = run("one", rows), run("two", [{"step": 1, "loss": 1.0}])
    figure = render(viz.loss_curves([first, second / "metrics.jsonl"], title="T"))
    found = curves(figure)
    assert found["one: 2.250"] == [[20, 25], [2.5, 2.25]]
    assert found["two: 1.000 (training)"] == [[1], [1.0]]
    assert [[0, 10, 20], [4.0, 3.0, 2.0]] in found.values()
    colors = [line.get_color() for line in figure.axes[0].lines if ":" in line.get_label()]
    assert len(set(colors)) == 2
    assert curves(viz.loss_curves(first, x="tokens"))["one: 2.250"] == [[160, 200], [2.5, 2.25]]


def test_a_long_run_is_drawn_by_its_running_mean(run):
    losses = np.random.default_rng(0).normal(2, 1, 500)
    folder = run("long", [{"step": i, "loss": v} for i, v in enumerate(losses)])
    ((_, mean),) = [xy for label, xy in curves(viz.loss_curves(folder)).items() if label.startswith("long: ")]
    expected = [losses[max(0, i - 4) : i + 1].mean() for i in range(500)]  # the last 5 of 500
    np.testing.assert_allclose(mean, expected, rtol=1e-12)


def test_runs_of_one_name_are_told_apart_by_their_folders(run):
    runs = [run("a/seed-1", [{"step": 0, "loss": 1}]), run("b/seed-1", [{"step": 0, "loss": 2}])]
    assert set(curves(viz.loss_curves(runs))) >= {"a/seed-1: 1.000 (training)", "b/seed-1: 2.000 (training)"}
    assert "x: 1.000 (training)" in curves(viz.loss_curves(runs, labels=["x", "$y$"]))


def test_a_run_that_was_killed_or_blew_up_is_drawn_as_far_as_it_went(run):
    rows = [{"step": 0, "loss": 3.0}, {"step": 1, "loss": float("nan")}]
    folder = run("killed", rows, end='{"step": 2, "lo')
    assert curves(render(viz.loss_curves(folder)))["killed: 3.000 (training)"] == [[0], [3.0]]


@pytest.mark.parametrize(
    ("rows", "end", "options", "says"),
    [
        ([{"step": 0, "loss": 1}], "nonsense\n", {}, r"metrics.jsonl:2: "),
        ([{"step": 0, "loss": 1}, 7], "", {}, r"metrics.jsonl:2: not an object"),
        ([], "", {}, "holds no metrics"),
        ([{"step": 0, "loss": float("nan")}], "", {}, "no line has 'step' and a finite"),
        ([{"step": 0, "loss": 1}], "", {"x": "seconds"}, "no line has 'seconds'"),
        ([{"step": 0, "loss": 1}], "", {"x": "hours"}, "x: 'hours' is none of step, tokens, seconds"),
        ([{"step": 0, "loss": 1}], "", {"labels": ["a", "b"]}, "labels: 2 for 1 runs"),
    ],
)
def test_a_bad_run_is_named(run, rows, end, options, says):
    with pytest.raises(ValueError, match=says):
        viz.loss_curves(run("bad", rows, end), **options)


def test_no_run_is_an_error():
    with pytest.raises(ValueError, match="paths"):
        viz.loss_curves([])


# ------------------------------------------------------------------------- positions, activations, tokens


def sinusoids(positions, d_model):
    """Section 3.5 of 1706.03762, element by element."""
    at = lambda p, i: p / 10000 ** (2 * (i // 2) / d_model)  # noqa: E731
    return np.array([[(np.cos if i % 2 else np.sin)(at(p, i)) for i in range(d_model)] for p in range(positions)])


def test_positions_are_shown_as_they_are_and_as_alike_as_they_are():
    pe = sinusoids(50, 16)
    figure = render(viz.positional_encoding(pe, title="T"))
    whole, curves, alike = figure.axes[:3]
    np.testing.assert_array_equal(whole.images[0].get_array(), pe)
    for line in curves.lines:
        np.testing.assert_array_equal(line.get_ydata(), pe[:, int(line.get_label())])
    assert len(curves.lines) == 4
    cosine = alike.images[0].get_array()
    np.testing.assert_allclose(np.diag(cosine), 1)
    # sinusoids: as alike as they are far apart, wherever they stand
    for distance in (1, 7):
        np.testing.assert_allclose(np.diag(cosine, distance), cosine[0, distance], rtol=1e-12)


def test_an_outlier_or_a_row_of_zeros_spoils_no_table():
    table = np.random.default_rng(0).normal(size=(64, 32))
    table[0] = 0
    table[3, 4] = 1000
    figure = render(viz.positional_encoding(table))
    assert figure.axes[0].images[0].get_clim()[1] < 5
    assert np.isfinite(figure.axes[2].images[0].get_array()).all()
    render(viz.positional_encoding(np.zeros((2, 1))))
    with pytest.raises(ValueError, match=r"pe: shape \(2, 3, 4\)"):
        viz.positional_encoding(np.zeros((2, 3, 4)))


SLOPES = {
    "ReLU": lambda x: (x > 0).astype(float),
    "SiLU": lambda x: (1 + np.exp(-x) + x * np.exp(-x)) / (1 + np.exp(-x)) ** 2,
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "sigmoid": lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
}
# of GELU at -2, -1, 0.5, 2: x Phi(x), and its approximation, from the definitions at 30 digits
GELU = {
    "GELU": [-0.045500263896358, -0.158655253931457, 0.345731230637007, 1.954499736103642],
    "GELU (tanh)": [-0.045402305912225, -0.158808009391723, 0.345714009825144, 1.954597694087775],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_slope_are_right(name):
    x = np.array([-2, -1, 0.5, 2])
    if name in GELU:
        np.testing.assert_allclose(ACTIVATIONS[name](x), GELU[name], rtol=1e-12)
    if name in SLOPES:
        np.testing.assert_allclose(slope(ACTIVATIONS[name], x), SLOPES[name](x), atol=1e-9)


def test_functions_stand_left_and_their_derivatives_right():
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
        ({}, {}, "functions: there is none"),
        ({"sum": np.sum}, {}, r"sum turned shape \(1601,\) into \(\)"),
        (None, {"low": 1, "high": 1}, "low, high"),
    ],
)
def test_what_cannot_be_drawn_as_a_function_is_an_error(functions, options, says):
    with pytest.raises(ValueError, match=says):
        viz.activations(functions, **options)


def test_the_bars_are_the_most_probable_tokens_in_order():
    figure = render(viz.next_token_bars([0.1, 0.4, 0.2, 0.1, 0.2], ["a", " b", "\n", "$d$", "e"], top=3, title="T"))
    (axis,) = figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], [40, 20, 20, 20])
    assert texts(axis.get_yticklabels()) == ["␣b", "⏎", "e", "2 others"]
    assert [t for t in texts(axis.texts) if t] == ["40.0%", "20.0%", "20.0%", "20.0%"]


def test_few_tokens_leave_no_others_and_numbers_stand_for_names():
    (axis,) = render(viz.next_token_bars([0.0004, 0.9996, 0.0])).axes
    assert texts(axis.get_yticklabels()) == ["1", "0", "2"]
    assert [t for t in texts(axis.texts) if t] == ["100.0%", "<0.1%", "0.0%"]


@pytest.mark.parametrize(
    ("probs", "options", "says"),
    [
        ([2.0, -1.0], {}, "logits?"),
        ([0.5, 0.4], {}, "sum to 0.9"),
        ([[1.0]], {}, r"shape \(1, 1\)"),
        ([1.0], {"tokens": "ab"}, "tokens: 2 tokens for 1 positions"),
        ([1.0], {"top": 0}, "top: 0"),
    ],
)
def test_what_are_no_probabilities_is_an_error(probs, options, says):
    with pytest.raises(ValueError, match=says):
        viz.next_token_bars(probs, **options)


def by_scanning(token, merges):
    """Byte-pair encoding as one reads it in the paper: apply every merge in order of learning, left to right."""
    pieces = list(token)
    for left, right in merges:
        i = 0
        while i < len(pieces) - 1:
            if (pieces[i], pieces[i + 1]) == (left, right):
                pieces[i : i + 2] = [left + right]
            i += 1
    return pieces


@st.composite
def learned(draw):
    """Merges as a trainer could have learned them: each joins pieces that exist by then."""
    known, merges = ["a", "b", "c"], []
    for _ in range(draw(st.integers(1, 8))):
        pair = draw(st.tuples(st.sampled_from(known), st.sampled_from(known)))
        if pair[0] + pair[1] not in known:
            merges.append(pair)
            known.append(pair[0] + pair[1])
    return merges


@settings(deadline=None)
@given(learned(), st.text("abc", min_size=1, max_size=24))
def test_a_token_is_merged_as_byte_pair_encoding_does(merges, token):
    pieces = merged(token, merges)
    assert [piece.text for piece in pieces] == by_scanning(token, merges)

    def check(node):
        if node.parts:
            pair = tuple(part.text for part in node.parts)
            assert merges[node.rank] == pair
            assert "".join(pair) == node.text
            assert all(part.rank is None or part.rank < node.rank for part in node.parts)
            for part in node.parts:
                check(part)
        else:
            assert len(node.text) == 1

    for piece in pieces:
        check(piece)


MERGES = [("t", "h"), ("i", "n"), ("th", "in"), ("thin", "k")]


@pytest.mark.parametrize(
    "merges", [MERGES, {pair: rank for rank, pair in enumerate(MERGES)}, [(a.encode(), b.encode()) for a, b in MERGES]]
)
def test_the_tree_shows_every_symbol_every_merge_and_its_rank(merges):
    (axis,) = render(viz.merge_tree("think!", merges, title="T")).axes
    assert sorted(texts(axis.texts)) == sorted(
        ["t", "h", "i", "n", "k", "!", "th", "in", "thin", "think", "merge 0", "merge 1", "merge 2", "merge 3"]
    )
    assert len(axis.lines) == 2 * len(MERGES)
    places = {t.get_text(): t.get_position() for t in axis.texts}
    assert places["t"] == (0, 0)
    assert places["!"] == (5, 0)
    assert places["th"] == (0.5, 1)
    assert places["thin"] == (1.5, 2)


def test_bytes_that_are_no_text_can_be_drawn():
    (axis,) = render(viz.merge_tree("é", [(b"\xc3", b"\xa9")])).axes
    assert set(texts(axis.texts)) == {"\\xc3", "\\xa9", "é", "merge 0"}


def test_a_token_that_fits_no_merges_is_an_error():
    with pytest.raises(ValueError, match="token"):
        viz.merge_tree("", MERGES)
    with pytest.raises(ValueError, match="merges: they join str"):
        viz.merge_tree(b"think", MERGES)
