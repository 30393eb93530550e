"""The command line, as a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest
from attention_numpy import checkpoint

QUICK = ["--steps", "6", "--batch", "8", "--d-model", "16", "--d-ff", "16", "--n-layers", "1", "--eval-count", "20"]


def run(*arguments, cwd=None, text=None):
    command = [sys.executable, "-m", "attention_numpy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, input=text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    return folder, run("train", "reverse", *QUICK, "--out", "run", cwd=folder)


def test_train_writes_a_run_and_says_what_it_reached(trained):
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("step 6: held-out loss ")
    assert "parameters, 6 steps" in done.stderr
    names = {p.name for p in (folder / "run").iterdir()}
    assert {"config.json", "metrics.jsonl", "model.safetensors", "training.safetensors"} <= names
    assert json.loads((folder / "run" / "config.json").read_text())["task"] == "reverse"
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {"tokens", "loss", "lr", "seconds", "tokens_per_s", "val_loss", "exact_match"} <= set(rows[-1])
    assert ("pip install ./shared" in done.stderr) or "curve.png" in names


def test_translate_takes_words_or_lines(trained):
    folder, _ = trained
    words = run("translate", "abcde", "--run", "run", cwd=folder)
    lines = run("translate", "--run", "run", "--beam", "3", cwd=folder, text="abcde\nxyzx\n")
    assert words.returncode == lines.returncode == 0, words.stderr + lines.stderr
    assert len(lines.stdout.splitlines()) == 2


def test_a_finished_run_cannot_be_resumed_and_another_one_neither(trained):
    folder, _ = trained
    done = run("train", "reverse", *QUICK, "--out", "run", "--resume", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has done its 6 steps" in done.stderr
    other = run("train", "reverse", *QUICK, "--seed", "5", "--out", "run", "--resume", cwd=folder)
    assert other.returncode == 2
    assert "has another seed" in other.stderr


def test_detect_anomaly_can_be_asked_for(tmp_path):
    done = run("train", "copy", *QUICK, "--detect-anomaly", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "copy" / "config.json").exists()


def test_train_text_trains_a_language_model_that_continues(tmp_path):
    (tmp_path / "poem.txt").write_text("roses are red, violets are blue, " * 40, encoding="utf-8")
    done = run("train", "--text", "poem.txt", *QUICK, "--length", "16", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("step 6: held-out loss ")
    more = run("translate", "roses", "--run", "run", "--length", "20", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert len(more.stdout.rstrip("\n")) == 25
    assert run("plot", "roses", "--run", "run", cwd=tmp_path).returncode == 2


def test_gradcheck_prints_every_parameter_and_its_error():
    done = run("gradcheck", "--norm", "pre", "--tie-embeddings", "--dropout", "0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["parameter", "size", "analytic", "numeric", "rel.", "error"]
    assert any(line.startswith("decoder.layers.1.multihead_attn.in_proj_weight ") for line in lines)
    assert lines[-1].startswith("worst: ")
    assert all(float(line.split()[-1]) < 1e-6 for line in lines[1:-1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["translate", "forty two", "--run", "nowhere"],
        ["plot", "--run", "nowhere"],
        ["train", "copy", "--n-heads", "5"],
        ["train", "copy", "--eval-every", "0"],
        ["train", "text", "--text", "nowhere.txt"],
        ["train", "addition", "--digits", "40"],
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir()), "nothing is written before the input is checked"


def test_a_word_that_the_task_lacks_and_a_spoilt_checkpoint_are_named(trained, tmp_path):
    folder, _ = trained
    done = run("translate", "ABC", "--run", "run", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'A' met" in done.stderr
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / "run" / name).read_bytes())
    arrays, _ = checkpoint.load(tmp_path / "model.safetensors")
    checkpoint.save(tmp_path / "model.safetensors", {**arrays, "generator.bias": np.zeros(3)})
    done = run("translate", "abc", "--run", str(tmp_path))
    assert done.returncode == 2
    assert "generator.bias has shape (3,)" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["train", "nonsense"], ["demo", "--nonsense"], ["train", "copy", "--steps", "0"]]
)
def test_what_the_parser_rejects_ends_with_2(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_help_names_the_commands_and_imports_nothing_slow():
    done = run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("demo", "train", "translate", "gradcheck", "plot"))
    code = (
        "import sys, attention_numpy.__main__; print([m for m in ('tqdm', 'torch', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_the_demo_learns_german_number_words(tmp_path):
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "after:  zwei und vierzig\n" in done.stdout
    exact = float(done.stdout.split("unseen numbers: ")[1].split("%")[0])
    assert exact >= 99
    answers = run("translate", cwd=tmp_path, text="ninety nine\nseven hundred thousand twelve\n")
    assert answers.stdout == "neun und neunzig\nsieben hundert tausend zwölf\n"
