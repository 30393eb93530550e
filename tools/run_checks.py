"""Checks that every training command passes. A package's `tests/test_runs.py` imports them all:

    from run_checks import *  # noqa: F403

Its `tests/helpers_runs.py` describes the commands:

    RUNS = {"train": ["train", "dates", "--steps", "12", ...]}     arguments without --out; a few seconds each
    MORE_STEPS = {"train": ["--steps", "1000000"]}                 makes the run outlast a minute
    DIVERGE = {"train": ["--lr", "1e30"]}                          makes the loss NaN or infinite
    CHANGES = {"train": [(["--seed", "5"], "seed"), ...]}          what --resume must refuse, and the setting it names
    EXTRA_METRICS = {"exact_match"}                                keys beside those of the vocabulary (optional)
    CONFIG = "config.json"                                         the file with the training settings (optional)

    def prepare(folder): ...                                       writes the files that the commands read
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from package_checks import Package, assert_one_error_line, package_of, run

__all__ = [
    "Run",
    "a_run",
    "finished",
    "pytest_generate_tests",
    "test_a_finished_run_is_extended_on_request",
    "test_a_folder_with_a_run_is_refused_or_overwritten",
    "test_a_run_killed_before_its_first_checkpoint_starts_again",
    "test_a_run_that_diverges_stops_with_its_step",
    "test_a_signal_ends_the_run_between_two_steps_and_it_can_be_resumed",
    "test_an_interrupted_and_resumed_run_matches_the_uninterrupted_one_bit_for_bit",
    "test_default_folder_carries_the_package",
    "test_resume_names_the_setting_that_differs",
    "test_the_run_folder_is_that_of_the_vocabulary",
]

KEYS = {"step", "tokens", "loss", "val_loss", "lr", "grad_norm", "wall_seconds", "cpu_seconds", "tokens_per_second"}
FILES = {"config.json", "model.safetensors", "training_state.safetensors", "tokenizer.json", "metrics.jsonl"}
TIMES = {"wall_seconds", "cpu_seconds", "tokens_per_second"}


class Run:
    """One training command of a package, in a folder of its own."""

    def __init__(self, package: Package, name: str, folder: Path) -> None:
        path = package.folder / "tests" / "helpers_runs.py"
        spec = importlib.util.spec_from_file_location(f"{package.module}_helpers_runs", path)
        assert spec is not None
        assert spec.loader is not None
        self.helpers = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.helpers)
        self.package, self.name, self.folder = package, name, folder
        self.arguments: list[str] = self.helpers.RUNS[name]
        self.config: str = getattr(self.helpers, "CONFIG", "config.json")
        self.helpers.prepare(folder)

    def __call__(self, *more: str, out: str | None = "run") -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        where = [] if out is None else ["--out", out]
        return run(self.package, *self.arguments, *where, *more, cwd=self.folder)

    def start(self, *more: str, out: str = "run") -> subprocess.Popen[str]:
        """Start the command and return at once."""
        command = [sys.executable, "-m", self.package.module, *self.arguments, "--out", out, *more]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def metrics(self, out: str = "run") -> list[dict[str, Any]]:
        """The lines of metrics.jsonl without the times, which differ from run to run."""
        lines = (self.folder / out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]

    def weights(self, out: str = "run") -> str:
        """A hash of the weights."""
        return hashlib.sha256((self.folder / out / "model.safetensors").read_bytes()).hexdigest()


def runs_of(folder: Path) -> list[str]:
    """The names of the training commands that a package describes."""
    text = (folder / "tests" / "helpers_runs.py").read_text(encoding="utf-8")
    scope: dict[str, Any] = {"__name__": "helpers_runs", "__file__": str(folder / "tests" / "helpers_runs.py")}
    exec(compile(text, "helpers_runs.py", "exec"), scope)
    return list(scope["RUNS"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each training command."""
    folder = Path(metafunc.module.__file__).parent.parent
    if "a_run" in metafunc.fixturenames:
        metafunc.parametrize("a_run", runs_of(folder), indirect=True, scope="module")


@pytest.fixture(scope="module")
def a_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training command whose files are prepared."""
    package = package_of(Path(request.path).parent.parent)
    return Run(package, request.param, tmp_path_factory.mktemp(re.sub(r"\W", "-", request.param)))


@pytest.fixture(scope="module")
def finished(a_run: Run) -> subprocess.CompletedProcess[str]:
    """The command, carried out once into `run`."""
    done = a_run()
    assert done.returncode == 0, done.stderr
    return done


def test_the_run_folder_is_that_of_the_vocabulary(a_run: Run, finished: subprocess.CompletedProcess[str]) -> None:
    """The same files, the same keys, nothing that is not finite, device and dtype resolved; modes as the umask says."""
    folder = a_run.folder / "run"
    names = {p.name for p in folder.iterdir()}
    assert names >= FILES - {"training_state.safetensors"}, names
    assert any(name.startswith("training_state") for name in names)
    assert not [n for n in names if n.endswith((".pt", ".pkl", ".tmp")) or n == "curve.png"]
    settings = json.loads((folder / a_run.config).read_text(encoding="utf-8"))
    assert {"model", "train", "data", "version"} <= settings.keys()
    assert "auto" not in {settings["train"].get("device"), settings["train"].get("dtype")}
    if "device" in settings["train"]:
        assert re.search(r"cpu.*float32|cpu.*bfloat16", finished.stderr), finished.stderr
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        assert json.loads(line).keys() <= KEYS | set(getattr(a_run.helpers, "EXTRA_METRICS", ()))
        assert not re.search(r"NaN|Infinity", line)
    last = json.loads(lines[-1])
    assert last["cpu_seconds"] > 0
    assert last["wall_seconds"] > 0
    if os.name == "posix":
        umask = os.umask(0)
        os.umask(umask)
        assert {p.name: oct(p.stat().st_mode & 0o777) for p in folder.iterdir() if p.is_file()} == {
            p.name: oct(0o666 & ~umask) for p in folder.iterdir() if p.is_file()
        }


def test_default_folder_carries_the_package(a_run: Run, finished: subprocess.CompletedProcess[str]) -> None:
    """Without --out, two packages never write to the same folder."""
    done = a_run(out=None)
    assert done.returncode == 0, done.stderr
    (made,) = (a_run.folder / "runs").iterdir()
    assert made.name.startswith(a_run.package.script), made


def test_a_folder_with_a_run_is_refused_or_overwritten(a_run: Run, finished: subprocess.CompletedProcess[str]) -> None:
    """A finished run is never lost by accident; --overwrite makes the same run again."""
    before, metrics = a_run.weights(), a_run.metrics()
    refused = a_run()
    assert_one_error_line(refused)
    assert all(option in refused.stderr for option in ("--resume", "--overwrite", "--out"))
    assert a_run.weights() == before
    both = a_run("--resume", "--overwrite")
    assert_one_error_line(both)
    again = a_run("--overwrite")
    assert again.returncode == 0, again.stderr
    assert a_run.weights() == before
    assert a_run.metrics() == metrics


def test_resume_names_the_setting_that_differs(a_run: Run, finished: subprocess.CompletedProcess[str]) -> None:
    """Whatever shapes the trajectory must be what it was."""
    before = a_run.weights()
    for more, setting in a_run.helpers.CHANGES[a_run.name]:
        done = a_run("--resume", *more)
        assert_one_error_line(done)
        assert f"`{setting}` must be " in done.stderr, done.stderr
        assert a_run.weights() == before


def test_a_finished_run_is_extended_on_request(a_run: Run, finished: subprocess.CompletedProcess[str]) -> None:
    """--resume alone does nothing to a finished run; with --extend it continues."""
    before, last = a_run.weights(), a_run.metrics()[-1]["step"]
    idle = a_run("--resume")
    assert idle.returncode == 0, idle.stderr
    assert "--extend" in idle.stderr
    assert a_run.weights() == before
    longer = a_run("--resume", "--extend", "3")
    assert longer.returncode == 0, longer.stderr
    assert a_run.metrics()[-1]["step"] == last + 3
    assert a_run.weights() != before
    assert a_run("--overwrite").returncode == 0  # as it was, for the other tests


def test_a_run_killed_before_its_first_checkpoint_starts_again(a_run: Run) -> None:
    """The folder of a run that saved nothing is not in the way, with and without --resume."""
    folder = a_run.folder / "killed"
    for number, more in enumerate(([], ["--resume"])):
        process = a_run.start(*a_run.helpers.MORE_STEPS[a_run.name], "--eval-every", "1000000", out=f"killed/{number}")
        wait_for(process, folder / str(number) / a_run.config)
        process.kill()
        process.communicate()
        assert not list((folder / str(number)).glob("training_state*"))
        done = a_run(*more, out=f"killed/{number}")
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_between_two_steps_and_it_can_be_resumed(a_run: Run, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: a checkpoint, how to resume, status 130; the same command with --resume continues."""
    out, more = f"interrupted-{number}", a_run.helpers.MORE_STEPS[a_run.name]
    process = a_run.start(*more, out=out)
    wait_for(process, a_run.folder / out / "metrics.jsonl", content=True)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    found = re.fullmatch(r"interrupted at step ([\d,]+); continue with: (.*)", last)
    assert found, err
    assert "--resume" in found[2]
    step = int(found[1].replace(",", ""))
    process = a_run.start(*more, "--resume", out=out)  # the same command is accepted and continues
    wait_for(process, a_run.folder / out / "metrics.jsonl", content=True, after_step=step)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    steps = [line["step"] for line in a_run.metrics(out)]
    assert steps == sorted(set(steps))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_an_interrupted_and_resumed_run_matches_the_uninterrupted_one_bit_for_bit(
    a_run: Run, finished: subprocess.CompletedProcess[str]
) -> None:
    """The same losses at the same steps and the same weights, wherever the interruption fell."""
    process = a_run.start(out="again")
    wait_for(process, a_run.folder / "again" / "metrics.jsonl", content=True, or_end=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode in (0, 130), err
    done = a_run("--resume", out="again")
    assert done.returncode == 0, done.stderr
    uninterrupted = {line["step"]: line for line in a_run.metrics()}
    assert {line["step"]: line for line in a_run.metrics("again") if line["step"] in uninterrupted} == uninterrupted
    assert a_run.weights("again") == a_run.weights()


def test_a_run_that_diverges_stops_with_its_step(a_run: Run) -> None:
    """NaN ends the run with one line and a status other than 0, and never enters a file."""
    done = a_run(*a_run.helpers.DIVERGE[a_run.name], out="diverged")
    assert done.returncode == 1, done
    assert re.search(r"^error: .*(NaN|inf|infinite).* step [\d,]+", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr
    for path in (a_run.folder / "diverged").glob("*.json*"):
        assert not re.search(r"\b(NaN|Infinity)\b", path.read_text(encoding="utf-8")), path


def wait_for(
    process: subprocess.Popen[str], path: Path, *, content: bool = False, after_step: int = 0, or_end: bool = False
) -> None:
    """Wait until a running command has written a file (and, with `content`, a metrics line after a step)."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if or_end and process.poll() is not None:
            return
        assert process.poll() is None, process.communicate()
        if path.exists() and (not content or any_step_after(path, after_step)):
            return
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"{path} did not appear: {process.communicate()}")


def any_step_after(path: Path, step: int) -> bool:
    """Whether a metrics file has a complete line of a later step."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return any(json.loads(line)["step"] > step for line in lines)
