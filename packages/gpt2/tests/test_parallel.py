"""Several processes (gloo, on the CPU) are the same run as one, and a checkpoint of some is resumed by others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gpt2 import GPT2
from gpt2.parallel import share
from gpt2.settings import OptimConfig, TrainConfig
from gpt2.train import Trainer
from small import Data, small_model

SCRIPT = str(Path(__file__).parent / "several.py")


def run(processes, folder, mode, *options):
    """Train in so many processes; the logged losses, held-out ones and norms of the gradient, a row for each step."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launch, SCRIPT, str(folder), mode, *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return log(folder)


def log(folder):
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([[e["step"], e["loss"], e["grad_norm"], e.get("val_loss", 0.0)] for e in entries])


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The curve of one process, without torchrun, and its model."""
    folder = tmp_path_factory.mktemp("single")
    config = TrainConfig(
        steps=6, batch_size=7, optim=OptimConfig(lr=3e-3, warmup=3), dtype="float32", eval_every=3, log_every=1
    )
    Trainer(small_model(torch.float32, seed=2), Data(uneven=True), config, folder).run()
    return log(folder), GPT2.from_pretrained(folder)


@torch.no_grad()
def same_model(folder, model):
    """By what they compute: Adam turns the rounding in gradients that are zero (of key biases) into steps."""
    ids = torch.arange(16)[None]
    return float((GPT2.from_pretrained(folder)(ids) - model(ids)).abs().max()) < 1e-4


def test_two_processes_have_the_curve_of_one_and_three_resume_them(single, tmp_path):
    curve, model = single
    assert len(curve) == 6
    found = run(2, tmp_path, "ddp", "--micro-batch", 2)
    assert np.abs(found - curve).max() < 1e-5
    assert same_model(tmp_path, model)

    folder = tmp_path / "fsdp"
    run(2, folder, "fsdp", "--stop-after", 3, "--micro-batch", 3)
    assert [p.name for p in folder.glob("training*")] == ["training-000000003"]
    held = [json.loads((folder / f"process-{i}.json").read_text())["weights"] for i in range(2)]
    assert max(held) < 0.6 * model.parameter_count()  # each holds its part only
    found = run(3, folder, "fsdp", "--resume")
    assert np.abs(found - curve).max() < 1e-5
    assert same_model(folder, model)
    assert [p.name for p in folder.glob("training*")] == ["training-000000006"]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["ddp", "fsdp"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_any_number_resumes_any_number(single, tmp_path, first, optimizer):
    whole = run(1, tmp_path / "whole", "ddp", "--optimizer", optimizer)
    options = ["--optimizer", optimizer]
    parts = tmp_path / "parts"
    run(2, parts, first, "--stop-after", 2, *options)
    run(1, parts, "fsdp", "--stop-after", 4, "--resume", *options)
    alone = [sys.executable, SCRIPT, str(parts), "ddp", "--stop-after", "5", "--resume", *options]  # no torchrun
    subprocess.run(alone, check=True, capture_output=True)
    assert [p.name for p in parts.glob("training*")] == ["training.safetensors"]
    found = run(2, parts, "fsdp" if first == "ddp" else "ddp", "--resume", *options)
    assert np.abs(found - whole).max() < 1e-4


def test_every_row_belongs_to_one_process_and_all_have_as_many(monkeypatch):
    import gpt2.parallel

    ids, targets = torch.arange(14).view(7, 2), torch.arange(14).view(7, 2) + 1
    monkeypatch.setattr(gpt2.parallel, "world_size", lambda: 3)
    shares = []
    for number in range(3):
        monkeypatch.setattr(gpt2.parallel, "rank", lambda number=number: number)
        shares.append(share((ids, targets)))
    assert [len(i) for i, _ in shares] == [3, 3, 3]
    counted = torch.cat([t[t != -100] for _, t in shares])
    assert sorted(counted.tolist()) == sorted(targets.flatten().tolist())
    assert all(torch.equal(i[t != -100] + 1, t[t != -100]) for i, t in shares)
