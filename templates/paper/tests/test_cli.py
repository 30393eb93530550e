"""The commands in real processes; package_checks and run_checks test what all packages share."""
# Replace: what your commands print.

import subprocess
import sys

import pytest
from MODULE import PAPER

RUN = "runs/{{NAME}}-demo"


def call(*arguments, cwd=None, text=None):
    command = [sys.executable, "-m", "MODULE", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, cwd=cwd, input=text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cli")
    done = call("demo", cwd=made)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 2
    return made


def test_cite_names_the_paper():
    done = call("cite")
    assert (done.returncode, done.stdout) == (0, PAPER.citation() + "\n")


def test_a_finished_demo_is_reused(folder):
    before = (folder / RUN / "model.safetensors").read_bytes()
    done = call("demo", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "already finished" in done.stderr
    assert "--overwrite" in done.stderr
    assert (folder / RUN / "model.safetensors").read_bytes() == before


def test_evaluate_prints_the_loss(folder):
    done = call("evaluate", RUN, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert 0.3 < float(done.stdout.split()[1]) < 1.0
    done = call("evaluate", RUN, "--text", "-", cwd=folder, text="the small cat\n")
    assert "14 characters" in done.stdout


def test_generate_continues_a_prompt(folder):
    arguments = ["generate", RUN, "--max-new-tokens", "30", "--device", "cpu"]
    done = call(*arguments, "--prompt", "the small ", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the small ")
    assert len(done.stdout) == 10 + 30 + 1
    assert call(*arguments, "--prompt", "-", cwd=folder, text="the small ").stdout == done.stdout
    wrong = call(*arguments, "--prompt", "ÿ", cwd=folder)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_plot_draws_runs(folder):
    pytest.importorskip("matplotlib")
    done = call("plot", RUN, RUN, "--out", "loss.svg", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "loss.svg\n"), done.stderr
    assert "<svg" in (folder / "loss.svg").read_text("utf-8")
    assert call("plot", cwd=folder).stderr == "error: `runs` must name at least one run, got []\n"
    wrong = call("plot", RUN, "--out", "loss.txt", cwd=folder)
    assert wrong.stderr == "error: `out` must end in one of .png, .svg, .pdf, got 'loss.txt'\n"


def test_a_folder_without_a_run_is_one_error_line(tmp_path):
    done = call("evaluate", "nothing", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: nothing/config.json: not found\n")
