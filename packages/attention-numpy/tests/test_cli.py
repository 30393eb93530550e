"""The commands of this package, each in a process of its own; `test_package.py` has the checks of all packages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attention_numpy import read_safetensors, write_safetensors

QUICK = [
    "--steps",
    "6",
    "--batch-size",
    "8",
    "--d-model",
    "16",
    "--d-ff",
    "16",
    "--n-layers",
    "1",
    "--eval-count",
    "20",
]


def run(*arguments, cwd=None, text=None, env=None):
    command = [sys.executable, "-m", "attention_numpy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, input=text, env=env)


def assert_one_error_line(done, message):
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"error: .*{message}.*\n", done.stderr), done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    return folder, run("train", "reverse", *QUICK, "--out", "run", cwd=folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run of a language model."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "poem.txt").write_text("roses are red, violets are blue, " * 40, encoding="utf-8")
    return folder, run("train", "--text", "poem.txt", *QUICK, "--context-length", "16", "--out", "run", cwd=folder)


def test_train_writes_a_run_and_prints_its_result_once(trained):
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"step 6: held-out loss \d\.\d{4}, exact match 0\.00%, .* CPU-seconds\n", done.stdout)
    assert "parameters, 6 steps, run folder run" in done.stderr
    assert "held-out loss" not in done.stderr
    assert {"loss_curve.png", "cross_attention.png"} <= {p.name for p in (folder / "run").iterdir()}


def test_translate_takes_words_or_lines(trained):
    folder, _ = trained
    words = run("translate", "run", "abcde", cwd=folder)
    lines = run("translate", "run", "-", "--beam-size", "3", cwd=folder, text="abcde\nxyzx\n")
    assert words.returncode == lines.returncode == 0, words.stderr + lines.stderr
    assert len(lines.stdout.splitlines()) == 2
    assert run("translate", "run", cwd=folder, text="abcde\n").stdout == words.stdout


def test_evaluate_repeats_the_result_of_training(trained, written):
    for folder, done in (trained, written):
        found = run("evaluate", "run", "--eval-count", "20", cwd=folder)
        assert found.returncode == 0, found.stderr
        loss = re.search(r"held-out loss (\d\.\d{4})", done.stdout)[1]
        assert found.stdout.startswith(f"held-out loss {loss}")
    folder, _ = written
    (folder / "poem.txt").write_text("something else, and long enough " * 40, encoding="utf-8")
    assert_one_error_line(run("evaluate", "run", cwd=folder), r"poem\.txt: has changed since run was trained on it")


def test_an_extension_that_is_interrupted_is_continued(tmp_path):
    train = ["train", "reverse", *QUICK, "--out", "run"]
    assert run(*train, cwd=tmp_path).returncode == 0
    assert_one_error_line(run(*train, "--extend", "3", cwd=tmp_path), "`extend` must be used with --resume")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"steps": 6', '"steps": 9'))  # killed after the extension began
    done = run(*train, "--resume", "--extend", "3", cwd=tmp_path)
    assert done.stdout.startswith("step 9: "), done.stderr
    done = run(*train, "--resume", "--extend", "3", cwd=tmp_path)
    assert done.stdout.startswith("step 12: "), done.stderr


def test_anomaly_detection_can_be_switched_on(tmp_path):
    done = run("train", "copy", *QUICK, "--detect-anomaly", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "attention-numpy-copy" / "config.json").exists()
    done = run("train", "copy", *QUICK, "--detect-anomaly", "--lr", "1e30", "--out", "diverged", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^error: .* in the .* pass of \S+$", done.stderr, re.MULTILINE), done.stderr


def test_generate_continues_a_text_with_a_language_model(written):
    folder, done = written
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("step 6: held-out loss ")
    more = run("generate", "run", "roses", "--max-new-tokens", "20", cwd=folder)
    assert more.returncode == 0, more.stderr
    assert more.stdout.startswith("roses")
    assert len(more.stdout) == 26
    greedy = [run("generate", "run", "-", "--temperature", "0", cwd=folder, text="ro\n").stdout for _ in range(2)]
    assert greedy[0] == greedy[1]
    assert len(greedy[0]) == 303
    assert_one_error_line(run("plot", "run", "roses", cwd=folder), "has no source")
    assert_one_error_line(run("translate", "run", "roses", cwd=folder), "Use `attention-numpy generate`")
    assert_one_error_line(run("generate", "run", "Ä", cwd=folder), "got 'Ä'")
    for wrong in (["--temperature", "-1"], ["--top-k", "0"], ["--max-new-tokens", "-5"], ["--seed", "-1"]):
        assert_one_error_line(run("generate", "run", "roses", *wrong, cwd=folder), "must be")


def test_gradcheck_prints_every_parameter_and_its_error():
    done = run("gradcheck", "--norm", "pre", "--tie-embeddings", "--dropout", "0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["parameter", "size", "analytic", "numeric", "rel.", "error"]
    assert any(line.startswith("decoder.layers.1.multihead_attn.in_proj_weight ") for line in lines)
    assert lines[-1].startswith("worst: ")
    assert all(float(line.split()[-1]) < 1e-6 for line in lines[1:-1])


def test_export_writes_a_page_with_the_model_in_it(trained, tmp_path):
    folder, _ = trained
    done = run("export", "--html", "run", "--out", str(tmp_path / "copy.html"), "--text", "abc", cwd=folder)
    assert done.stdout == f"{tmp_path / 'copy.html'}\n"
    page = (tmp_path / "copy.html").read_text(encoding="utf-8")
    assert '"text":"abc"' in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "nowhere", "forty two"], "nowhere.config.json: not found"),
        (["plot", "nowhere"], "not found"),
        (["plot", "pretrained:number-words"], "`run` must be the folder of a run of yours"),
        (["translate", "pretrained:words", "one"], "one of pretrained:number-words, got 'pretrained:words'"),
        (["export", "nowhere"], "`--html` must be given"),
        (["export", "--html", "nowhere"], "not found"),
        (["export", "--html", "nowhere", "--out", "page.txt"], "`out` must end in .html, got 'page.txt'"),
        (["evaluate", "nowhere"], "not found"),
        (["generate", "nowhere", "a"], "not found"),
        (["train", "copy", "--n-heads", "5"], "`n_heads` must divide `d_model` = 64, got 5"),
        (["train", "copy", "--eval-every", "0"], "`eval_every` must be an integer of at least 1, got 0"),
        (["train", "copy", "--lr", "-1"], "`lr` must be a finite number of at least 0, got -1.0"),
        (["train", "copy", "--seed", "-1"], "`seed` must be an integer from 0"),
        (["train", "text", "--text", "nowhere.txt"], "nowhere.txt: not found"),
        (["train", "text"], "Add --text FILE"),
        (["train", "copy", "--text", "nowhere.txt"], "`text` must be left out with task copy"),
        (["train", "addition", "--digits", "40"], "`digits` must be an integer from 1 to 18, got 40"),
        (["train", "addition", "--digits", "1"], "`eval_count` must be at most 2"),
        (["gradcheck", "--dropout", "0.999999"], "`dropout` must be at most 0.99999"),
        (["gradcheck", "--seed", "-1"], "`seed` must be an integer from 0"),
        (["demo", "--seed", "-1"], "`seed` must be an integer from 0"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(arguments, message, tmp_path):
    assert_one_error_line(run(*arguments, cwd=tmp_path), message)
    assert not any(tmp_path.iterdir())


def test_a_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes("für ".encode("latin-1") * 300)
    assert_one_error_line(run("train", "--text", "latin.txt", cwd=tmp_path), r"latin\.txt: not UTF-8 \(byte 1\)")


def test_an_unknown_symbol_and_a_damaged_checkpoint_are_named(trained, tmp_path):
    folder, _ = trained
    assert_one_error_line(run("translate", "run", "ABC", cwd=folder), "got 'A'")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / "run" / name).read_bytes())
    path = tmp_path / "model.safetensors"
    arrays, metadata = read_safetensors(path)
    write_safetensors(path, {**arrays, "generator.bias": np.zeros(3)}, metadata)
    assert_one_error_line(
        run("translate", str(tmp_path), "abc"), r"generator\.bias must be a float array of shape \(29,\)"
    )


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_the_command_line_uses_one_blas_thread_unless_told_otherwise():
    code = (
        "import sys; sys.argv = ['x', 'gradcheck']; import attention_numpy.cli as c; c.main(); import os;"
        "print('threads', len(os.listdir('/proc/self/task')), os.environ['OMP_NUM_THREADS'])"
    )
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    bare = {key: value for key, value in os.environ.items() if key not in names}
    for more, expected in (({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=bare | more, check=True)
        assert done.stdout.splitlines()[-1] in {f"threads {n} {expected}" for n in ("1", expected)}
    imported = "import os, attention_numpy; attention_numpy.Transformer; assert 'OMP_NUM_THREADS' not in os.environ"
    assert subprocess.run([sys.executable, "-c", imported], env=bare, check=False).returncode == 0


def test_a_finished_demo_is_used_again_and_an_interrupted_one_is_not_lost(tmp_path):
    code = (
        "import sys, dataclasses, attention_numpy.recipes as r; sys.argv = ['x', 'demo', *sys.argv[1:]];"
        "train = dataclasses.replace(r.DEMO.train, steps=4, batch_size=4, eval_count=5);"
        "r.DEMO = dataclasses.replace(r.DEMO, train=train);"
        "import attention_numpy.cli as c; c.main()"
    )

    def demo(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, input="", check=False)

    first, again, replaced = demo(), demo(), demo("--overwrite")
    assert [d.returncode for d in (first, again, replaced)] == [0, 0, 0], first.stderr + again.stderr + replaced.stderr
    assert first.stdout.count("before: ") == first.stdout.count("after: ") == 3
    assert "the demo is trained already" in again.stderr
    assert "before" not in again.stdout
    assert "before" in replaced.stdout
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"attention-numpy-demo"}


@pytest.mark.slow
def test_the_demo_learns_german_number_words(tmp_path):
    done = run("demo", cwd=tmp_path, text="")
    assert done.returncode == 0, done.stderr
    assert "after:  zwei und vierzig\n" in done.stdout
    assert float(re.search(r"exact match ([\d.]+)%", done.stdout)[1]) >= 99
    answers = run(
        "translate", "runs/attention-numpy-demo", cwd=tmp_path, text="Ninety-nine\n700,012\nseven hundred and one\n"
    )
    assert answers.stdout == "neun und neunzig\nsieben hundert tausend zwölf\nsieben hundert eins\n"
