"""The commands as a user runs them. tools/package_checks.py and tools/run_checks.py have the common tests."""

import io
import json
import os
import subprocess
import sys
from contextlib import chdir

import pytest
from lets_build_gpt import Model
from lets_build_gpt.cli import main

TEXT = "To be, or not to be, that is the question:\n" * 60


def options(steps=40, **more):
    """The options of a tiny model, with underscores for hyphens."""
    tiny = {"context_length": 16, "d_model": 32, "n_heads": 2, "n_layers": 2, "dtype": "float32", "device": "cpu"}
    pairs = {**tiny, "steps": steps, "eval_every": 20, "sample_tokens": 20, **more}
    return [word for name, value in pairs.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def run(*arguments, cwd=None, stdin="", **environment):
    """Run a command in this process, because importing torch takes seconds; with `environment` in one of its own."""
    words = [*map(str, arguments)]
    if environment:
        command = [sys.executable, "-m", "lets_build_gpt", *words]
        variables = {**os.environ, **environment}
        return subprocess.run(command, cwd=cwd, input=stdin.encode(), capture_output=True, check=False, env=variables)
    out, err, status = io.BytesIO(), io.BytesIO(), 0
    with pytest.MonkeyPatch.context() as patch, chdir(cwd or "."):
        patch.setattr(sys, "argv", ["lets-build-gpt", *words])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        patch.setattr(sys, "stdout", io.TextIOWrapper(out))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err))
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        sys.stdout.flush()
        sys.stderr.flush()
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8", newline="\n")
    done = run("train", "nanogpt-cpu", "--text", "text.txt", "--out", "run", *options(), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_training_prints_its_result_and_fills_its_folder(trained):
    folder, done = trained
    loss = float(done.stdout.decode().split("validation loss: ")[1].split()[0])
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["val_loss"] == pytest.approx(loss, abs=5e-5)
    assert (folder / "run" / "loss_curve.png").read_bytes().startswith(b"\x89PNG")
    assert done.stderr.decode().splitlines()[0] == "Training on cpu, float32."
    assert "validation loss" in done.stderr.decode()
    assert "    " in done.stderr.decode()  # a sample of each evaluation


def test_train_needs_no_recipe(trained):
    folder, _ = trained
    done = run("train", "--text", "text.txt", "--out", "no-recipe", *options(steps=4), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "no-recipe" / "config.json").read_text())["train"]["optim"]["weight_decay"] == 0.1


def test_a_text_from_stdin_trains_as_the_file_does(trained):
    folder, done = trained
    piped = run("train", "nanogpt-cpu", "--text", "-", "--out", "piped", *options(), cwd=folder, stdin=TEXT)
    assert piped.stdout.split(b"\n")[0] == done.stdout.split(b"\n")[0]
    unknown = run("evaluate", "piped", cwd=folder)
    assert unknown.returncode == 2
    assert b"Name one with --text" in unknown.stderr


def test_evaluate_scores_the_text_of_the_run(trained, tmp_path):
    folder, done = trained
    scored = run("evaluate", folder / "run", "--device", "cpu", cwd=tmp_path)  # from another folder
    assert scored.stdout.split()[1] == done.stdout.split()[2]
    assert b"validation split" in scored.stderr
    assert b"perplexity" in scored.stdout


def test_evaluate_scores_all_of_another_text(trained):
    folder, _ = trained
    (folder / "other.txt").write_text("to be that is the question" * 4, encoding="utf-8")
    other = run("evaluate", "run", "--text", "other.txt", cwd=folder)
    assert b"other.txt: whole text, 104 characters" in other.stderr
    own = run("evaluate", "run", "--text", "-", cwd=folder, stdin=TEXT)
    assert b"validation split" in own.stderr


def test_evaluate_refuses_a_text_that_changed_since_the_run(trained):
    folder, _ = trained
    (folder / "changing.txt").write_text(TEXT, encoding="utf-8", newline="\n")
    run("train", "nanogpt-cpu", "--text", "changing.txt", "--out", "changed", *options(steps=2), cwd=folder)
    (folder / "changing.txt").write_text(TEXT + "be", encoding="utf-8", newline="\n")
    done = run("evaluate", "changed", cwd=folder)
    assert done.returncode == 2
    assert b"is no longer the text that the run was trained on" in done.stderr


def test_generate_continues_the_prompt_and_repeats_itself(trained):
    folder, _ = trained
    first = run("generate", "run", "--prompt", "To be", "--max-new-tokens", "35", cwd=folder)
    again = run("generate", "run", "--prompt", "-", "--max-length", "40", cwd=folder, stdin="To be")
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    assert first.stdout.startswith(b"To be")
    assert len(first.stdout) == 41
    long = run("generate", "run", "--prompt", "to be " * 105, cwd=folder)  # the default counts new characters
    assert len(long.stdout) == 630 + 500 + 1


def test_generated_text_is_utf8_in_every_code_page(tmp_path):
    text = "naïve café – “Größe” 😀 日本語 " * 120
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    done = run("train", "nanogpt-cpu", "--text", "text.txt", "--out", "run", *options(steps=2), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for environment in ({"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        arguments = ["generate", "run", "--prompt", "-", "--temperature", "9"]
        done = run(*arguments, cwd=tmp_path, stdin="Größe 😀", **environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode("utf-8").startswith("Größe 😀")


def test_over_fitting_is_reported_and_the_best_loss_is_the_result(tmp_path):
    (tmp_path / "text.txt").write_text(
        "".join("abcdefghij"[(i * i) % 10] for i in range(1200)) + "jihgfedcba" * 14, encoding="utf-8"
    )
    arguments = options(steps=60, eval_every=5)
    done = run("train", "nanogpt-cpu", "--text", "text.txt", "--out", "run", *arguments, cwd=tmp_path)
    assert b"Over-fitting: the validation loss rose from " in done.stderr
    reported = done.stdout.split()[2]
    assert run("evaluate", "run", cwd=tmp_path).stdout.split()[1] == reported
    assert float(run("evaluate", "run", "--last", cwd=tmp_path).stdout.split()[1]) > float(reported)


def test_bigram_losses_agree_with_each_other(trained):
    done = run("bigram", "--text", "text.txt", "--max-length", "30", cwd=trained[0])
    counted, fitted, _ = (float(line.split(b": ")[1].split()[0]) for line in done.stdout.splitlines()[:3])
    assert 0 < counted <= fitted + 1e-4 < counted + 0.01


def test_the_demo_shows_the_text_of_all_models_and_is_reused(tmp_path):
    done = run("demo", "--steps", "8", "--dtype", "float32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode()
    losses = out.split("nats per character: bigram ")[1].split(".\n")[0].split(", GPT ")
    assert all(1 < float(loss) < 6 for loss in losses)
    folder = tmp_path / "runs" / "lets-build-gpt-demo"
    assert Model.from_pretrained(folder).num_parameters() > 100_000
    assert {"loss_curve.png", "attention.png"} <= {path.name for path in folder.iterdir()}
    assert (folder / "attention.html").exists() or "attention.html: " in done.stderr.decode()
    before = (folder / "model.safetensors").read_bytes()
    again = run("demo", cwd=tmp_path)
    assert "shows the finished demo; --overwrite trains it again" in again.stderr.decode()
    assert again.stdout.decode().split("3. The GPT")[1] == out.split("3. The GPT")[1]
    assert (folder / "model.safetensors").read_bytes() == before


def test_plot_draws_several_runs(trained):
    folder, _ = trained
    done = run("plot", "run", "run", "--out", "losses.svg", cwd=folder)
    assert done.stdout == b"losses.svg\n"
    assert b"<svg" in (folder / "losses.svg").read_bytes()


def test_export_writes_a_page_with_the_model_in_it(trained):
    folder, _ = trained
    done = run("export", "--html", "run", "--out", "gpt.html", "--prompt", "to", cwd=folder)
    assert done.stdout == b"gpt.html\n"
    page = (folder / "gpt.html").read_text(encoding="utf-8")
    assert '"prompt":"to"' in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "nanogpt-cpu", "--text", "missing.txt"], "missing.txt: No such file"),
        (["train", "nanogpt-cpu", "--text", "latin1.txt"], "latin1.txt: not UTF-8"),
        (["train", "nanogpt-cpu", "--text", "empty.txt"], "empty.txt: the file is empty"),
        (["train", "nanogpt-cpu", "--text", "short.txt"], "`context_length` = 64 needs at least 641"),
        (["train", "nanogpt-cpu", "--text", "."], "directory"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--device", "toaster"], "`device` must be"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--dtype", "float8"], "`dtype` must be one of"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--out", "run"], "holds a run"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--out", ""], "`out` must be a folder of its own"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--n-heads", "5"], "`n_heads` must divide `d_model`"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--warmup-steps", "5000"], "`warmup_steps` must be at most"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--momentum", "2"], "`momentum` must be in [0, 1)"),
        (["train", "nanogpt-cpu", "--text", "text.txt", "--num-threads", "-1"], "`num_threads` must be"),
        (["train", "nanogpt-cpu", "--vocab-size", "5"], "unknown options"),
        (["train", "shakespeare"], "`recipe` must be one of"),
        (["generate", "nothing"], "nothing/config.json: not found"),
        (["generate", "run", "--prompt", "€"], "`prompt` must use only the 17 characters"),
        (["generate", "run", "--max-length", "0"], "`max_length` must be"),
        (["generate", "run", "--max-length", "3", "--prompt", "to be"], "the prompt's 5, got 3"),
        (["generate", "run", "--temperature", "nan"], "`temperature` must be"),
        (["generate", "run", "--max-length", "5", "--max-new-tokens", "5"], "must not both be given"),
        (["evaluate", "run", "--text", "one.txt"], "at least two tokens"),
        (["evaluate", "run", "--text", "strange.txt"], "strange.txt: `text` must use only"),
        (["evaluate", "run", "--split", "test"], "`split` must be one of validation, train, all"),
        (["plot", "run", "--out", "text.txt"], "`out` must end in .png, .svg, .pdf"),
        (["plot"], "`runs` must name at least one run folder"),
        (["plot", "nothing"], "metrics.jsonl: not found"),
        (["export", "run"], "`--html` must be given"),
        (["export", "--html", "nothing"], "nothing/config.json: not found"),
        (["export", "--html", "run", "--out", "text.txt"], "`out` must end in .html"),
        (["export", "--html", "run", "--prompt", "€"], "`prompt` must use only the 17 characters"),
        (["bigram", "--text", "short.txt"], "at least 11 characters"),
        (["demo", "--out", "run"], "holds a run"),
        (["demo", "--steps", "0"], "`steps` must be"),
    ],
)
def test_bad_input_is_one_line_and_changes_no_file(trained, arguments, named, monkeypatch, capsys):
    folder, _ = trained
    monkeypatch.chdir(folder)
    (folder / "latin1.txt").write_bytes(b"caf\xe9")
    (folder / "empty.txt").write_text("")
    (folder / "short.txt").write_text("To be")
    (folder / "one.txt").write_text("b")
    (folder / "strange.txt").write_text("€uro " * 200, encoding="utf-8")
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["lets-build-gpt", *arguments])
    with pytest.raises(SystemExit) as ended:  # in this process, because importing torch takes seconds
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[-1].startswith("error: ")
    assert named in lines[-1]
    assert len(lines) == 1
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
