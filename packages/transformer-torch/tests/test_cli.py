"""The commands, beyond what tools/package_checks.py and run_checks.py test for every package."""

import io
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from transformer_torch import Translator, cli
from transformer_torch._common.tensors import read_tensors
from transformer_torch.cli import main

TINY = ["--steps", "6", "--eval-every", "3", "--decay-steps", "0", "--d-model", "16", "--d-ff", "16", "--n-layers", "1"]
TINY += ["--batch-tokens", "400", "--device", "cpu", "--dtype", "float32"]


@pytest.fixture
def call(monkeypatch, capsys):
    """Exit status, output and messages of a command in a folder."""

    def command(*arguments, cwd, text=""):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["transformer-torch", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return command


@pytest.fixture(scope="module")
def dates_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    command = [sys.executable, "-m", "transformer_torch", "train", *TINY, "--out", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_translate_keeps_order_and_blank_lines(dates_run, call):
    status, out, said = call("translate", "run", "--beam-size", "2", cwd=dates_run, text="4. März 2021\n\n3/4/2021\n")
    assert (status, said) == (0, "")
    assert len(out.splitlines()) == 3
    assert out.splitlines()[1] == ""
    (dates_run / "in.txt").write_text("4. März 2021\n", encoding="utf-8")
    options = ["--input", "in.txt", "--beam-size", "3", "--nbest", "3"]
    status, out, _ = call("translate", "run", *options, cwd=dates_run)
    rows = [line.split("\t") for line in out.splitlines()]
    assert status == 0
    assert [row[0] for row in rows] == ["1", "1", "1"]
    assert float(rows[0][1]) >= float(rows[1][1]) >= float(rows[2][1])
    assert len({row[2] for row in rows}) == 3


def test_translate_warns_of_a_truncated_line_by_its_number(dates_run, call):
    status, out, said = call("translate", "run", "--beam-size", "1", cwd=dates_run, text="a\n" + "1" * 99 + "\nb\n")
    assert status == 0
    assert said == "warning: line 2 has 100 tokens; translated the first 64\n"
    assert len(out.splitlines()) == 3


def test_translate_answers_a_pipe_line_by_line(dates_run):
    command = [sys.executable, "-m", "transformer_torch", "translate", "run", "--beam-size", "1", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    with subprocess.Popen(
        command, cwd=dates_run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        answers = []
        for line in ("4. März 2021", "2021年3月4日"):
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            answers.append(process.stdout.readline().decode().rstrip("\n"))
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    lines = ["4. März 2021", "2021年3月4日"]
    done = subprocess.run(command, cwd=dates_run, input="\n".join(lines).encode(), capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == answers


def test_average_writes_a_run_that_translate_takes(dates_run, call):
    status, _, said = call("average", "run", "run", "--out", "mean", cwd=dates_run)
    assert (status, said) == (0, "wrote mean\n")
    text = "4. März 2021\n3/4/2021\n"
    found = [call("translate", name, cwd=dates_run, text=text)[1] for name in ("run", "mean")]
    assert found[0] == found[1]
    shutil.copytree(dates_run / "run", dates_run / "other", dirs_exist_ok=True)
    tokenizer = json.loads((dates_run / "other" / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["symbols"][:2] = tokenizer["symbols"][1::-1]
    (dates_run / "other" / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    for arguments, message in (
        (["run", "other", "--out", "x"], "other: its tokenizer differs from that of run"),
        (["run/training_state.safetensors", "--out", "x"], "run/training_state.safetensors"),
        (["run", "--out", "run"], "run: holds a run"),
    ):
        status, out, said = call("average", *arguments, cwd=dates_run)
        assert (status, out) == (2, "")
        assert said.startswith("error: ")
        assert message in said


def test_evaluate_stores_the_best_length_alpha_as_the_default(dates_run, call, monkeypatch):
    shutil.copytree(dates_run / "run", dates_run / "tuned")
    (dates_run / "src.txt").write_text("4. März 2021\n3/4/2021\n", encoding="utf-8")
    (dates_run / "tgt.txt").write_text("2021-03-04\n2021-03-04\n", encoding="utf-8")
    scores = {0.5: 1.0, 1.5: 3.0, 2.5: 2.0}
    monkeypatch.setattr("transformer_torch.evaluation.bleu.bleu_by_alpha", lambda *_: scores)
    options = ["--src", "src.txt", "--tgt", "tgt.txt", "--length-alphas", "0.5", "1.5", "2.5", "--store"]
    status, out, _ = call("evaluate", "tuned", *options, cwd=dates_run)
    assert (status, out) == (0, "0.5\t1.00\n1.5\t3.00\n2.5\t2.00\n")
    assert Translator.load(dates_run / "tuned").length_alpha == 1.5
    assert Translator.load(dates_run / "run").length_alpha == 0.6
    status, _, said = call("train", *TINY, "--resume", "--out", "tuned", cwd=dates_run)
    assert status == 0, said


def test_fine_tuning_starts_from_the_weights_and_the_tokenizer_of_a_run(dates_run, call):
    options = [*TINY, "--init-from", "run", "--lr-scale", "1e-9"]  # which moves no weight by much
    assert call("train", *options, "--out", "tuning", cwd=dates_run)[0] == 0
    weights = [read_tensors(dates_run / name / "model.safetensors")[0] for name in ("run", "tuning")]
    assert all((weights[0][name] - weights[1][name]).abs().max() < 1e-6 for name in weights[0])
    assert call("train", *options, "--resume", "--out", "tuning", cwd=dates_run)[0] == 0
    status, _, said = call("train", *options, "--d-ff", "24", "--out", "x", cwd=dates_run)
    assert (status, said) == (2, "error: `d_ff` must be 16 to start from run, got 24\n")


def test_score_reads_files_with_a_byte_order_mark(dates_run, call):
    (dates_run / "lines.txt").write_text("\ufeffZwei Hunde laufen über die Wiese .\r\n", encoding="utf-8")
    (dates_run / "plain.txt").write_text("Zwei Hunde laufen über die Wiese .\n", encoding="utf-8")
    _, out, _ = call("score", "lines.txt", "plain.txt", cwd=dates_run)
    assert out.splitlines()[0].startswith("BLEU = 100.00")


def test_plot_draws_losses_and_attention(dates_run, call):
    status, out, _ = call("plot", "run", "--line", "4. März 2021", cwd=dates_run)
    assert status == 0
    assert len(out.splitlines()) == 1
    for name in ("loss_curve.png", "attention.png"):
        assert (dates_run / "run" / name).read_bytes()[:4] == b"\x89PNG"
    assert call("plot", "run", "--line", " ", cwd=dates_run)[0] == 2


def test_demo_uses_a_finished_run_and_refuses_another_one(tmp_path, dates_run, call):
    options = ["--steps", "2", "--device", "cpu", "--dtype", "float32", "--out", "demo"]
    status, out, said = call("demo", *options, cwd=tmp_path)
    assert status == 0, said
    assert out.splitlines()[-1].endswith("of 500 held-out dates are exactly right")
    weights = (tmp_path / "demo" / "model.safetensors").read_bytes()
    again = call("demo", *options, cwd=tmp_path)
    assert again[:2] == (0, out)
    assert "--overwrite" in again[2]
    assert (tmp_path / "demo" / "model.safetensors").read_bytes() == weights
    status, out, said = call("demo", "--out", "run", cwd=dates_run)
    assert (status, out) == (2, "")
    assert "must be" in said
    assert "to resume run" in said


BAD = {
    "lengths": (
        ["train", "--src", "three", "--tgt", "two", "--vocab", "words"],
        "must have as many lines, got 3 and 2",
    ),
    "empty": (["train", "--src", "none", "--tgt", "none", "--vocab", "words"], "no lines"),
    "missing": (["train", "--src", "nowhere", "--tgt", "two"], "nowhere: No such file"),
    "no tgt": (["train", "--src", "three"], "For two files, add --tgt"),
    "no src": (["train", "base"], "`src` must be a file"),
    "no src, tgt": (["train", "small", "--tgt", "two"], "`src` must be a file"),
    "two texts": (["train", "dates", "--src", "three"], "`src` must not be set with `data` = 'dates'"),
    "valid of a dataset": (["train", "--data", "dates", "--valid-src", "two"], "`valid_src` must not be set"),
    "dataset": (["train", "--data", "foo"], "`data` must be one of"),
    "valid": (["train", "small", "--src", "three", "--tgt", "three", "--valid-tgt", "two"], "`valid_src` must be set"),
    "long": (
        ["train", "--src", "three", "--tgt", "three", "--max-length", "2", "--vocab", "characters"],
        "--max-length",
    ),
    "run": (["translate", "nowhere"], "Is nowhere a run folder?"),
    "score": (["score", "three", "two"], "must have as many lines as the reference, 2, got 3"),
    "nbest": (["translate", "run", "--nbest", "0"], "`nbest` must be an integer from 1 to 4, got 0"),
    "nbest above beam": (["translate", "run", "--nbest", "3", "--beam-size", "2"], "`nbest` must be"),
    "alpha": (["translate", "run", "--length-alpha", "nan"], "`length_alpha` must be"),
    "decay": (["train", "dates", "--steps", "20"], "`decay_steps` must be at most `steps` = 20, got 1000"),
    "heads": (["train", "dates", "--d-model", "30"], "`n_heads` must divide `d_model` = 30, got 4"),
    "d_k": (["train", "dates", "--d-k", "0"], "`d_k` must be an integer of at least 1, got 0"),
    "extend": (["train", "dates", "--extend", "3"], "`extend` must be 0 without --resume"),
    "pad_id": (["train", "dates", "--pad-id", "4"], "unknown options: --pad-id"),
    "average": (["average", "--out", "x"], "`runs` must name at least one run folder"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_error_line_and_writes_nothing(tmp_path, call, case):
    for name, text in {"three": "a b\nb c\nc d\n", "two": "a b\nb c\n", "none": ""}.items():
        (tmp_path / name).write_text(text)
    arguments, message = BAD[case]
    status, out, said = call(*arguments, cwd=tmp_path)
    assert (status, out) == (2, ""), said
    assert message in said
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["none", "three", "two"]


def test_parts_of_different_runs_are_one_error_line(dates_run, tmp_path, call):
    shutil.copytree(dates_run / "run", tmp_path / "run")
    path = tmp_path / "run" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"symbols": content["symbols"][:-1]}), encoding="utf-8")
    status, _, said = call("translate", "run", cwd=tmp_path, text="4. März 2021")
    assert status == 2
    assert "They are of different runs" in said
    path.write_text(json.dumps(content), encoding="utf-8")
    config = tmp_path / "run" / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    values["model"]["d_ff"] = 24
    config.write_text(json.dumps(values), encoding="utf-8")
    status, _, said = call("translate", "run", cwd=tmp_path, text="4. März 2021")
    assert status == 2
    assert "ffn.w_1.bias must have shape (24,), got (16,)" in said
    values["model"]["color"] = 1
    config.write_text(json.dumps(values), encoding="utf-8")
    assert "'color' is not a setting" in call("translate", "run", cwd=tmp_path)[2]


def test_a_full_disk_is_one_error_line_and_the_run_can_be_resumed(dates_run, tmp_path, monkeypatch, call):
    """The disk fills up at the second checkpoint: the first stays, and the resumed run is the undisturbed one."""
    with monkeypatch.context() as full:
        kept = []

        def fsync(file):
            if len(kept) == 5:  # tokenizer, settings, metrics, the two files of the first checkpoint
                raise OSError(28, "No space left on device")
            kept.append(file)

        full.setattr("transformer_torch._common.atomic.os.fsync", fsync)
        status, _, said = call("train", *TINY, "--out", "run", cwd=tmp_path)
    assert status == 2
    assert said.splitlines()[-1] == "error: run/training_state.safetensors: No space left on device"
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.endswith(".tmp")]
    assert call("train", *TINY, "--resume", "--out", "run", cwd=tmp_path)[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        dates_run / "run" / "model.safetensors"
    ).read_bytes()


def test_help_answers_in_half_a_second():
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "transformer_torch", "--help"], capture_output=True, check=True)
        best = min(best, time.perf_counter() - start)
    assert best < 1.0  # 0.2 s on an idle machine


def test_the_prompt_of_the_demo_ends_with_ctrl_d(monkeypatch, capsys):
    typed = iter(["4. März 2021"])

    def read(prompt):
        for line in typed:
            return line
        raise EOFError

    class Echo:
        def translate(self, lines, beam_size):
            return [line.upper() for line in lines]

    monkeypatch.setattr("builtins.input", read)
    cli._prompt(Echo())
    assert capsys.readouterr().out.splitlines()[1:] == ["4. MÄRZ 2021", ""]
