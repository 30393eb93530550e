"""The command line, in processes of its own."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from transformer_torch.__main__ import main

TINY = [
    "--steps",
    "6",
    "--valid-every",
    "3",
    "--decay",
    "0",
    "--d-model",
    "16",
    "--d-ff",
    "16",
    "--max-tokens",
    "400",
    "--dtype",
    "float32",
]


def run(*arguments, cwd=None, text=None):
    """In a process of its own: three seconds for the import of torch."""
    return subprocess.run(
        [sys.executable, "-m", "transformer_torch", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        input=text,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
    )


@pytest.fixture
def call(monkeypatch, capsys):
    """The same in this process: exit status, output and messages of a command in a folder."""

    def command(*arguments, cwd, text=""):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["transformer-torch", *arguments])
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
    done = run("train", *TINY, "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_train_without_text_leaves_a_whole_run(dates_run):
    folder, done = dates_run
    assert done.stdout == ""
    assert "step 6" in done.stderr
    names = {p.name for p in (folder / "run").iterdir()}
    assert {"config.json", "metrics.jsonl", "model.safetensors", "state.safetensors", "vocab.json"} <= names
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {"tokens", "loss", "lr", "seconds", "tokens_per_second", "val_loss"} <= lines[-1].keys()
    assert json.loads((folder / "run" / "config.json").read_text())["train"]["steps"] == 6


def test_a_folder_with_a_run_is_not_overwritten(dates_run, call):
    folder, _ = dates_run
    before = (folder / "run" / "model.safetensors").read_bytes()
    status, _, said = call("train", *TINY, "--out", "run", cwd=folder)
    assert status == 2
    assert said.startswith("error: out: run holds a run already")
    assert (folder / "run" / "model.safetensors").read_bytes() == before


def test_translate_answers_each_line_in_order(dates_run, call):
    folder, _ = dates_run
    done = run("translate", "run", "--beam", "2", cwd=folder, text="4. März 2021\n\n3/4/2021\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3
    assert done.stdout.splitlines()[1] == ""
    (folder / "in.txt").write_text("4. März 2021\n", encoding="utf-8")
    status, out, _ = call("translate", "run", "--input", "in.txt", "--beam", "3", "--nbest", "2", cwd=folder)
    rows = [line.split("\t") for line in out.splitlines()]
    assert status == 0
    assert [row[0] for row in rows] == ["1", "1"]
    assert float(rows[0][1]) >= float(rows[1][1])


def test_average_and_score(dates_run, call):
    folder, _ = dates_run
    weights = "run/model.safetensors"
    assert call("average", weights, weights, "--out", "mean.safetensors", cwd=folder)[0] == 0
    assert (folder / "mean.safetensors").stat().st_size == (folder / weights).stat().st_size
    (folder / "lines.txt").write_text("Zwei Hunde laufen über die Wiese .\n", encoding="utf-8")
    _, out, _ = call("score", "lines.txt", "lines.txt", cwd=folder)
    assert out.splitlines()[0].startswith("BLEU = 100.00")


def test_own_text_trains_and_resumes(tmp_path, call):
    (tmp_path / "a").write_text("ein Hund\nzwei Hunde\nein Kind\n" * 5, encoding="utf-8")
    (tmp_path / "b").write_text("a dog\ntwo dogs\na child\n" * 5, encoding="utf-8")
    text = ["--src", "a", "--tgt", "b", "--valid-src", "a", "--valid-tgt", "b", "--vocab", "words"]
    sizes = [*TINY, "--n-heads", "2", "--n-layers", "1", "--warmup", "3"]
    assert call("train", *text, *sizes, "--out", "m", cwd=tmp_path)[0] == 0
    status, _, said = call("train", "--resume", "--out", "m", cwd=tmp_path)
    assert status == 0, said
    (tmp_path / "a").write_text("ein Hund\nzwei Hunde\ndas Kind\n" * 5, encoding="utf-8")
    status, _, said = call("train", "--resume", "--out", "m", cwd=tmp_path)
    assert status == 2
    assert "not the text that m was trained on" in said


BAD = {
    "lengths": (["train", "--src", "three", "--tgt", "two", "--vocab", "words"], "3 lines of source, 2 of target"),
    "empty": (["train", "--src", "none", "--tgt", "none", "--vocab", "words"], "empty"),
    "hole": (["train", "--src", "hole", "--tgt", "three", "--vocab", "words"], "line 2 of the source is empty"),
    "missing": (["train", "--src", "nowhere", "--tgt", "two"], "nowhere"),
    "long": (["train", "--src", "three", "--tgt", "three", "--vocab", "characters", "--max-length", "3"], "positions"),
    "run": (["translate", "nowhere"], "the folder of a run"),
    "score": (["score", "three", "two"], "3 lines; the reference has 2"),
    "validation": (["train", "--src", "three", "--tgt", "three", "--vocab", "words"], "--patience 0"),
}


@pytest.fixture
def error_of(tmp_path, call):
    """What a command in `tmp_path` that must end with status 2 says on stderr."""

    def command(*arguments, text=""):
        status, out, said = call(*arguments, cwd=tmp_path, text=text)
        assert (status, out) == (2, "")
        return said

    return command


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_line_on_stderr_and_status_2(tmp_path, error_of, case):
    for name, text in {"three": "a b\nb c\nc d\n", "two": "a b\nb c\n", "none": "", "hole": "a\n\nc\n"}.items():
        (tmp_path / name).write_text(text)
    arguments, message = BAD[case]
    said = error_of(*arguments)
    assert message in said
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_what_does_not_belong_to_a_run_is_one_line_and_status_2(dates_run, tmp_path, error_of):
    folder, _ = dates_run
    shutil.copytree(folder / "run", tmp_path / "run")
    said = error_of("translate", "run", text="1" * 64)
    assert said.startswith("error: line: 65 tokens in '1111")
    vocabulary = tmp_path / "run" / "vocab.json"
    whole = json.loads(vocabulary.read_text(encoding="utf-8"))
    vocabulary.write_text(json.dumps(whole | {"symbols": whole["symbols"][:-1]}), encoding="utf-8")
    said = error_of("translate", "run", text="4. März 2021")
    assert "vocabulary: " in said
    assert "they are of different runs" in said
    vocabulary.write_text(json.dumps(whole), encoding="utf-8")
    config = tmp_path / "run" / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    values["model"]["d_ff"] = 24
    config.write_text(json.dumps(values), encoding="utf-8")
    for command in (["translate", "run"], ["train", "--resume", "--out", "run"]):
        said = error_of(*command, text="4. März 2021")
        assert "feed_forward.w_1.bias is (16,); this model has (24,)" in said
        assert len(said.splitlines()) == 1


def test_a_full_disk_ends_with_2_and_the_run_can_go_on(dates_run, tmp_path, monkeypatch, call, error_of):
    """The disk fills up at the second checkpoint: the first stays, and the resumed run is the undisturbed one."""
    folder, _ = dates_run
    with monkeypatch.context() as full:
        kept = []

        def fsync(file):
            if len(kept) == 4:  # vocabulary, configuration, the two files of the first checkpoint
                raise OSError(28, "No space left on device")
            kept.append(file)

        full.setattr("transformer_torch.files.os.fsync", fsync)
        said = error_of("train", *TINY, "--out", "run")
    last = said.splitlines()[-1]
    assert last == "error: run/state.safetensors could not be written: [Errno 28] No space left on device"
    assert "step 3" in said
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.endswith(".tmp")]
    assert call("train", "--resume", "--out", "run", cwd=tmp_path)[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (folder / "run" / "model.safetensors").read_bytes()


def test_sizes_that_cannot_be_end_with_2(tmp_path):
    done = run("train", "dates", "--d-model", "30", cwd=tmp_path)
    assert done.returncode == 2
    assert "n_heads=4" in done.stderr


def test_help_does_not_wait_for_torch():
    code = "import sys; sys.argv = ['x', 'train', 'small', '--help']\nfrom transformer_torch.__main__ import main\n"
    code += "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "--d-model" in done.stdout


def test_an_unknown_command_ends_with_2():
    assert run("nonsense").returncode == 2
