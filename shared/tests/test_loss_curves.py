"""Loss curves: the values of the files, the horizontal axes, the labels, and what is refused."""

import io
import json

import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared._common.metrics import METRIC_KEYS, MetricsWriter
from dlpapers_shared.viz.loss import AXES
from PIL import Image


@pytest.fixture
def run(tmp_path):
    """`run("name", rows)` writes the metrics.jsonl of a run and returns its folder."""

    def write(name, rows, end=""):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "metrics.jsonl").write_text(lines + end, encoding="utf-8")
        return folder

    return write


def curves(figure):
    """Every line of the figure by its label: (x, y)."""
    return {line.get_label(): line.get_xydata().T.tolist() for line in figure.axes[0].lines}


def test_curves_are_the_losses_of_the_files(render, run):
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


@pytest.mark.parametrize("x", AXES)
def test_every_axis_reads_what_training_writes(render, tmp_path, x):
    assert set(AXES) <= set(METRIC_KEYS)
    writer = MetricsWriter(tmp_path / "metrics.jsonl")
    for i in (1, 2, 3):
        writer.write(step=i, tokens=10 * i, loss=1.0 / i, val_loss=2.0 / i, wall_seconds=0.5 * i, cpu_seconds=0.25 * i)
    figure = render(viz.loss_curves(tmp_path, x=x))
    scale = {"step": 1, "tokens": 10, "wall_seconds": 0.5, "cpu_seconds": 0.25}[x]
    assert [scale, 2 * scale, 3 * scale] in [xs for xs, _ in curves(figure).values()]
    label = {"step": "step", "tokens": "tokens", "wall_seconds": "wall", "cpu_seconds": "CPU"}[x]
    assert label in figure.axes[0].get_xlabel()
    assert ("seconds" in figure.axes[0].get_xlabel()) == ("seconds" in x)
    assert figure.axes[0].get_ylabel() == "loss, nats per token"


def test_legends_name_the_runs_and_the_kinds_of_loss(render, run, texts):
    rows = [{"step": i, "loss": 1.0, "val_loss": 2.0} for i in range(300)]
    (axis,) = render(viz.loss_curves(run("r", rows))).axes
    found = [text for legend in axis.findobj(type(axis.get_legend())) for text in texts(legend.get_texts())]
    assert set(found) == {"r: 2.000", "training loss (mean of 3 lines)", "validation loss"}
    assert axis._left_title.get_text() == "Training of r"


def test_legend_of_many_runs_is_beside_the_axes(render, run, texts):
    runs = [run(f"r{i}", [{"step": s, "val_loss": 1.0 + i} for s in (1, 2)]) for i in range(8)]
    figure = render(viz.loss_curves(runs))
    (legend,) = figure.legends
    assert texts(legend.get_texts()) == [f"r{i}: {1 + i}.000" for i in range(8)]
    figure.savefig(buffer := io.BytesIO(), format="png", dpi=100)
    pixels = np.asarray(Image.open(buffer).convert("L"))
    right = pixels[:, round(figure.axes[0].get_position().x1 * pixels.shape[1]) + 5 :]
    assert (right < 200).sum() > 1000  # lines and names of eight runs


def test_small_loss_is_not_labeled_zero(run):
    rows = [{"step": 1, "val_loss": 0.00012}]
    assert "tiny: 0.00012" in curves(viz.loss_curves(run("tiny", rows)))


def test_long_run_is_drawn_by_its_running_mean(run):
    losses = np.random.default_rng(0).normal(2, 1, 500)
    folder = run("long", [{"step": i, "loss": v} for i, v in enumerate(losses)])
    ((_, mean),) = [xy for label, xy in curves(viz.loss_curves(folder)).items() if label.startswith("long: ")]
    expected = [losses[max(0, i - 4) : i + 1].mean() for i in range(500)]  # the last 5 of 500
    np.testing.assert_allclose(mean, expected, rtol=1e-12)


def test_runs_of_the_same_name_are_distinguished_by_their_folders(run):
    runs = [run("a/seed-1", [{"step": 0, "loss": 1}]), run("b/seed-1", [{"step": 0, "loss": 2}])]
    assert set(curves(viz.loss_curves(runs))) >= {"a/seed-1: 1.000 (training)", "b/seed-1: 2.000 (training)"}
    assert "x: 1.000 (training)" in curves(viz.loss_curves(runs, labels=["x", "$y$"]))


def test_run_that_was_killed_is_drawn_as_far_as_it_was_written(render, run):
    folder = run("killed", [{"step": 0, "loss": 3.0}], end='{"step": 2, "lo')
    assert curves(render(viz.loss_curves(folder)))["killed: 3.000 (training)"] == [[0], [3.0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["loss", "val_loss"])
def test_run_that_diverged_is_marked(render, run, key, value):
    rows = [{"step": 10, "loss": 3.0, "val_loss": 2.0}, {"step": 20, "loss": 2.5}, {"step": 30, key: value}]
    figure = render(viz.loss_curves(run("bad", rows)))
    assert any(label == "bad: 2.000, diverged at 30" for label in curves(figure))
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert cross.get_xdata() == [20]


@pytest.mark.parametrize(
    ("rows", "end", "options", "says"),
    [
        ([{"step": 0, "loss": 1}], "nonsense\n{}\n", {}, r"metrics.jsonl:2: "),
        ([{"step": 0, "loss": 1}, 7, {"step": 1}], "", {}, r"metrics.jsonl:2: "),
        ([], "", {}, "has no metrics"),
        ([{"step": 0, "loss": float("nan")}], "", {}, "bad: has no finite `loss` or `val_loss` with `step`"),
        ([{"step": 0, "loss": "1.5"}], "", {}, "bad: has no finite `loss`"),
        (
            [{"step": 0, "loss": 1}],
            "",
            {"x": "wall_seconds"},
            "bad: has no `wall_seconds`. `x` must be one of step for",
        ),
        ([{"step": 0, "loss": 1}], "", {"x": "seconds"}, "`x` must be one of step, tokens, wall_seconds, cpu_seconds"),
        ([{"step": 0, "loss": 1}], "", {"labels": ["a", "b"]}, "`labels` must hold one name for each of 1 runs"),
    ],
)
def test_bad_run_is_named(run, rows, end, options, says):
    with pytest.raises(ValueError, match=says):
        viz.loss_curves(run("bad", rows, end), **options)


def test_one_run_without_the_key_among_others_is_named(run):
    runs = [run("good", [{"step": 0, "tokens": 5, "loss": 1}]), run("other", [{"step": 0, "loss": 1}])]
    with pytest.raises(ValueError, match="other: has no `tokens`"):
        viz.loss_curves(runs, x="tokens")


def test_no_run_and_missing_files_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="`paths` must hold at least one run"):
        viz.loss_curves([])
    with pytest.raises(ValueError, match=r"metrics\.jsonl: not found. Is .* a run folder\?"):
        viz.loss_curves(tmp_path)
    with pytest.raises(ValueError, match="nowhere: not found"):
        viz.loss_curves(tmp_path / "nowhere")
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        viz.loss_curves(tmp_path)
