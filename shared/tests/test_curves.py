import json

import numpy as np
import pytest
from dlpapers_shared import viz


@pytest.fixture
def run(tmp_path):
    """`run("name", rows)` writes a run's metrics.jsonl and returns its folder."""

    def write(name, rows, end=""):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "metrics.jsonl").write_text(lines + end, encoding="utf-8")
        return folder

    return write


def curves(figure):
    """Every line of the figure by its legend: (x, y)."""
    return {line.get_label(): line.get_xydata().T.tolist() for line in figure.axes[0].lines}


def test_the_curves_are_the_losses_of_the_files(render, run):
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


def test_a_run_that_was_killed_or_blew_up_is_drawn_as_far_as_it_went(render, run):
    rows = [{"step": 0, "loss": 3.0}, {"step": 1, "loss": float("nan"), "sample": "a\u2028b"}]
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
