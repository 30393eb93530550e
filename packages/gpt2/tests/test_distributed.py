"""Several processes (gloo, on the CPU) match one process, and any number resumes a checkpoint of any other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gpt2 import GPT2
from gpt2.training.distributed import local_rows
from gpt2.training.trainer import Trainer
from helpers_distributed import CONFIG
from helpers_models import Data, run, small_model

SCRIPT = str(Path(__file__).parent / "helpers_distributed.py")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")


def several(*runs):
    """Train in several processes; see helpers_distributed.py."""
    given = [json.dumps({**run, "folder": str(run["folder"])}) for run in runs]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPT, *given]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def log(folder):
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([[e["step"], e["loss"], e["grad_norm"], e.get("val_loss", 0.0)] for e in entries])


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Return the losses of one process, and its model."""
    folder = tmp_path_factory.mktemp("single")
    Trainer(small_model(torch.float32, seed=2), Data(uneven=True), CONFIG, folder).fit()
    return log(folder), GPT2.from_pretrained(folder)


@torch.no_grad()
def same_model(folder, model):
    """Compare outputs, because Adam turns rounding errors of zero gradients (of key biases) into steps."""
    ids = torch.arange(16)[None]
    return float((GPT2.from_pretrained(folder)(ids) - model(ids)).abs().max()) < 1e-4


@forks
def test_two_processes_match_one_and_three_resume_them(single, tmp_path):
    curve, model = single
    assert len(curve) == 6
    ddp, fsdp, three = (tmp_path / name for name in ("ddp", "fsdp", "three"))
    several(
        {"processes": 2, "mode": "ddp", "folder": ddp, "micro_batch": 2},
        {"processes": 2, "mode": "fsdp", "folder": fsdp, "micro_batch": 3, "stop_after": 3},
        {"processes": 3, "mode": "fsdp", "folder": three, "copy_of": str(fsdp), "resume": True},
    )
    assert np.abs(log(ddp) - curve).max() < 1e-5
    assert same_model(ddp, model)
    assert [p.name for p in fsdp.glob("training_state*")] == ["training_state-000000003"]
    held = [json.loads((fsdp / f"process-{i}.json").read_text())["weights"] for i in range(2)]
    assert max(held) < 0.6 * model.num_parameters()  # each process holds its shard only
    assert np.abs(log(three) - curve).max() < 1e-5
    assert same_model(three, model)
    assert [p.name for p in three.glob("training_state*")] == ["training_state-000000006"]


@forks
@pytest.mark.slow
@pytest.mark.parametrize("first", ["ddp", "fsdp"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_any_number_of_processes_resumes_any_other(tmp_path, first, optimizer):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = {"folder": parts, "optimizer": optimizer}
    several(
        {"processes": 1, "mode": "ddp", **settings, "folder": whole},
        {"processes": 2, "mode": first, "stop_after": 2, **settings},
        {"processes": 1, "mode": "fsdp", "stop_after": 4, "resume": True, **settings},
        {"processes": 0, "mode": "ddp", "stop_after": 5, "resume": True, **settings},
    )
    assert [p.name for p in parts.glob("training_state*")] == ["training_state.safetensors"]
    other = "fsdp" if first == "ddp" else "ddp"
    several({"processes": 2, "mode": other, "resume": True, **settings})
    assert np.abs(log(parts) - log(whole)).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_torchrun_from_the_command_line(tmp_path, mode):
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 100)
    assert run("prepare", tmp_path / "a.txt", "--out", tmp_path / "data").returncode == 0
    shape = ["--d-model", 16, "--n-heads", 2, "--n-layers", 1, "--context-length", 16]
    options = [*shape, "--steps", 4, "--batch-size", 6, "--eval-every", 2, "--log-every", 1, "--dtype", "float32"]
    train = ["train", tmp_path / "data", *options, "--parallel", mode]
    assert run(*train, "--out", tmp_path / "one").returncode == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "gpt2"]
    command = [*launch, *map(str, train), "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("val_loss") == 1  # only rank 0 prints
    assert np.abs(log(tmp_path / "two") - log(tmp_path / "one")).max() < 1e-5


def test_each_row_belongs_to_one_process_and_all_have_equally_many(monkeypatch):
    import gpt2.training.distributed

    ids, targets = torch.arange(14).view(7, 2), torch.arange(14).view(7, 2) + 1
    monkeypatch.setattr(gpt2.training.distributed, "world_size", lambda: 3)
    shares = []
    for number in range(3):
        monkeypatch.setattr(gpt2.training.distributed, "rank", lambda number=number: number)
        shares.append(local_rows((ids, targets)))
    assert [len(i) for i, _ in shares] == [3, 3, 3]
    counted = torch.cat([t[t != -100] for _, t in shares])
    assert sorted(counted.tolist()) == sorted(targets.flatten().tolist())
    assert all(torch.equal(i[t != -100] + 1, t[t != -100]) for i, t in shares)
