"""Failures around a run: a kill while a checkpoint is written, a full disk, folders that cannot be written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gpt2._common.run_folder import TRAINING_STATE
from gpt2.config import OptimConfig, TrainConfig
from gpt2.data.prepare import prepare
from gpt2.training.trainer import Trainer
from helpers_models import Data, run, small_model

CONFIG = TrainConfig(
    steps=9, batch_size=4, optim=OptimConfig(lr=3e-3, warmup_steps=3), dtype="float32", eval_every=3, log_every=1
)
KILLED = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_failures
replace, calls = os.replace, []
def dies(source, target):
    if Path(target).name == sys.argv[2]:
        calls.append(target)
        if len(calls) == 2:  # the second checkpoint is written, but does not have its name yet
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(source, target)
os.replace = dies
test_failures.train(Path(sys.argv[1]))
"""


def train(folder, **options):
    trainer = Trainer(small_model(torch.float32, seed=2, dropout=0.1), Data(), CONFIG, folder)
    trainer.fit(**options)
    return trainer


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("file", [TRAINING_STATE, pytest.param("model.safetensors", marks=pytest.mark.slow)])
def test_a_kill_while_a_checkpoint_is_written_loses_only_later_steps(tmp_path, file):
    train(tmp_path / "whole")
    folder = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), file], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(folder.glob(".*.tmp"))  # the kill came in the middle of a write
    again = train(folder, resume=True)
    assert losses(folder) == losses(tmp_path / "whole")
    assert again.progress.step == 9


def test_a_full_disk_is_an_error_and_the_last_checkpoint_stays(tmp_path):
    resource = pytest.importorskip("resource")
    trainer = train(tmp_path, stop_after=3)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.suffix == ".safetensors"}
    assert len(before) == 2
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the size of files is limited, as if the disk were full
    try:
        with pytest.raises(OSError, match=r"too large|cannot be written"):
            trainer.fit(resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.suffix == ".safetensors"} == before
    assert not list(tmp_path.glob(".*.tmp"))
    assert train(tmp_path, resume=True).progress.step == 9


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "a.txt").write_text("the cat sat on the mat. " * 100)
    prepare([folder / "a.txt"], folder / "data")
    return folder / "data"


SMALL = ["--steps", 2, "--d-model", 16, "--n-heads", 2, "--n-layers", 1, "--context-length", 16, "--dtype", "float32"]


def test_a_folder_that_cannot_be_written_is_one_error_line(data, tmp_path):
    (tmp_path / "file").write_text("")
    places = [tmp_path / "file/run"]
    if hasattr(os, "geteuid") and os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        places.append(tmp_path / "closed/run")
    for place in places:
        done = run("train", data, "--out", place, *SMALL)
        assert done.returncode == 2
        assert str(place) in done.stderr.splitlines()[-1]
        assert done.stderr.count("\n") == 1


def test_a_loss_curve_is_drawn_or_the_missing_package_is_named(data, tmp_path, monkeypatch):
    assert run("train", data, "--out", tmp_path / "drawn", *SMALL).returncode == 0
    assert (tmp_path / "drawn/loss_curve.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    done = run("train", data, "--out", tmp_path / "bare", *SMALL)
    assert done.returncode == 0
    assert "drawing figures needs matplotlib. Install it" in done.stderr
    assert not (tmp_path / "bare/loss_curve.png").exists()
