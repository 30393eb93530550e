"""The command line as a user meets it: real processes, good and bad input."""

import json
import math
import subprocess
import sys

import pytest
import torch
from lets_build_gpt import Model
from lets_build_gpt.__main__ import main

TEXT = "To be, or not to be, that is the question:\n" * 60
TINY = [
    "--context-length",
    "16",
    "--d-model",
    "32",
    "--h",
    "2",
    "--n-layers",
    "2",
    "--tokens",
    "3000",
    "--dtype",
    "float32",
]


def run(*arguments, cwd=None):
    command = [sys.executable, "-m", "lets_build_gpt", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    done = run("train", "nanogpt-cpu", "--text", "text.txt", "--out", "run", *TINY, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_help_does_not_wait_for_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lets_build_gpt", "train", "cpu-3min", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "--muon-lr" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tyro" in imported
    assert not imported & {"torch", "numpy", "safetensors"}


def test_training_prints_its_result_and_fills_its_folder(trained):
    folder, done = trained
    loss = float(done.stdout.split("validation loss: ")[1].split()[0])
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["val_loss"] == pytest.approx(loss, abs=5e-5)
    assert {"step", "tokens", "lr", "seconds", "tokens_per_second"} <= set(lines[0])
    names = {path.name for path in (folder / "run").iterdir()}
    assert {"config.json", "metrics.jsonl", "model.safetensors", "checkpoint.pt", "vocabulary.json"} <= names
    assert ("curve.png" in names) != ("needs dlpapers-shared" in done.stderr)
    assert json.loads((folder / "run" / "config.json").read_text())["training"]["tokens"] == 3000


def test_evaluate_gives_the_loss_that_training_gave(trained):
    folder, done = trained
    evaluated = run("evaluate", "run", "--text", "text.txt", "--device", "cpu", cwd=folder)
    assert evaluated.stdout.split()[2] == done.stdout.split()[2]


def test_generate_continues_the_prompt_and_repeats_itself(trained):
    folder, _ = trained
    first = run("generate", "run", "--prompt", "To be", "--max-length", "40", cwd=folder)
    again = run("generate", "run", "--prompt", "To be", "--max-length", "40", cwd=folder)
    assert first.returncode == 0
    assert first.stdout == again.stdout
    assert first.stdout.startswith("To be")
    assert len(first.stdout) == 41


def test_bigram_losses_agree_with_each_other(trained):
    done = run("bigram", "--text", "text.txt", "--max-length", "30", cwd=trained[0])
    counted, fitted, _ = (float(line.split(": ")[1].split()[0]) for line in done.stdout.splitlines()[:3])
    assert 0 < counted <= fitted + 1e-4 < counted + 0.01


def test_the_demo_shows_both_models(tmp_path):
    done = run("demo", "--tokens", "4000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    bigram, gpt = (float(x) for x in done.stdout.split("\nBigram ")[1].split(" nats")[0].split(" -> GPT "))
    assert 1 < bigram < 4
    assert 1 < gpt < math.log(200)
    assert Model.from_pretrained(tmp_path / "runs" / "demo").n_parameters > 100_000
    drawn = {path.name for path in (tmp_path / "runs" / "demo").iterdir()} & {
        "curve.png",
        "attention.png",
        "attention.html",
    }
    assert len(drawn) == 3 or "needs dlpapers-shared" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "nanogpt-cpu", "--text", "missing.txt"], "missing.txt"),
        (["train", "nanogpt-cpu", "--text", "latin1.txt"], "UTF-8"),
        (["train", "nanogpt-cpu", "--text", "empty.txt"], "empty"),
        (["train", "nanogpt-cpu", "--text", "short.txt"], "context_length"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--device", "toaster"], "toaster"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--dtype", "float8"], "float8"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--out", "run"], "holds a run already"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--out", "nothing", "--resume"], "--resume"),
        (["generate", "nothing"], "nothing"),
        (["generate", "run", "--prompt", "€"], "€"),
        (["generate", "run", "--max-length", "0"], "max_length"),
        (["evaluate", "run", "--text", "short.txt"], "context_length"),
        (["evaluate", "run", "--text", "strange.txt"], "vocabulary"),
    ],
)
def test_bad_input_is_one_line_and_status_2(trained, arguments, named, monkeypatch, capsys):
    folder, _ = trained
    monkeypatch.chdir(folder)
    (folder / "latin1.txt").write_bytes(b"caf\xe9")
    (folder / "empty.txt").write_text("")
    (folder / "short.txt").write_text("To be")
    (folder / "strange.txt").write_text("€uro " * 200, encoding="utf-8")
    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(sys, "argv", ["lets-build-gpt", *arguments])
    with pytest.raises(SystemExit) as ended:  # in this process: fifteen that import torch take a minute
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("error: ")
    assert named in printed.err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_real_process_ends_with_2_too(tmp_path):
    done = run("generate", "nothing", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nothing: no config.json; is it the folder of a run?\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "nanogpt-cpu", "--nonsense"],
        ["train", "nanogpt-cpu", "--h", "5"],
        ["train", "nanogpt-cpu", "--warmup", "2"],
        ["train"],
        [],
    ],
)
def test_what_the_parser_rejects_ends_with_2_too(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lets-build-gpt", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


def test_float16_asked_for_on_a_cpu_still_learns(trained, tmp_path):
    # half precision keeps a gradient scaler, whose state is part of the checkpoint
    arguments = ["train", "nanogpt-cpu", "--text", trained[0] / "text.txt", "--out", tmp_path / "r", *TINY]
    arguments[-1] = "float16"
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[2]) < 3.0
    assert torch.load(tmp_path / "r" / "checkpoint.pt", weights_only=True)["scaler"]["scale"] > 0
