"""Several processes that train together, and training in low precision; each in processes of its own."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch

TINY = ["--d-model", "16", "--d-ff", "16", "--n-layers", "1", "--decay-steps", "0", "--batch-tokens", "140"]
CPU = ["--device", "cpu", "--dtype", "float32"]


def run_python(code, tmp_path, **environment):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def train(folder, processes, *arguments):
    """The command line, by torchrun where there are several processes; returns what it says."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), "-m", "transformer_torch", "train", "dates"]
    done = subprocess.run(
        [*command, *TINY, *CPU, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def metrics(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_have_the_losses_of_one(tmp_path):
    """Batches of few pairs, so that the processes have unequal shares; Muon for some matrices, Adam for the rest."""
    for processes in (1, 2):
        steps = ["--steps", "8", "--eval-every", "8", "--accumulate", "2", "--optimizer", "muon"]
        train(tmp_path, processes, *steps, "--out", str(processes))
    one, two = (metrics(tmp_path / name) for name in ("1", "2"))
    assert len(one) == len(two) == 8
    for a, b in zip(one, two, strict=True):
        for key in ("loss", "smoothed_loss", "grad_norm"):
            assert abs(a[key] - b[key]) < 1e-4
    assert abs(one[-1]["val_loss"] - two[-1]["val_loss"]) < 1e-5


@pytest.mark.slow
def test_a_resumed_run_of_two_processes_with_dropout_is_the_same_run(tmp_path):
    options = ["--dropout", "0.3", "--steps", "6", "--eval-every", "3"]
    train(tmp_path, 2, *options, "--out", "straight")
    script = f"""
    import os, sys
    from transformer_torch.training.trainer import Trainer
    fit = Trainer.fit
    Trainer.fit = lambda self, report, stopping: fit(self, report, lambda: self.progress.step == 3)
    from transformer_torch.__main__ import main
    sys.argv = {["transformer-torch", "train", "dates", *TINY, *CPU, *options, "--out", "resumed"]!r}
    main()
    """
    (tmp_path / "stop.py").write_text(textwrap.dedent(script))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, "stop.py"], cwd=tmp_path, capture_output=True, check=False, timeout=600)
    assert len(metrics(tmp_path / "resumed")) == 3
    train(tmp_path, 2, *options, "--out", "resumed", "--resume")
    expected, found = (
        [(m["loss"], m.get("val_loss")) for m in metrics(tmp_path / name)] for name in ("straight", "resumed")
    )
    assert found == expected
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "resumed")]
    assert weights[0] == weights[1]


SETTING = """
import json, os, sys, torch
from transformer_torch import TrainConfig, Trainer, Transformer, TransformerConfig
pairs = [([4 + (i * k) % 9 for k in range(1, 2 + i % 5)] + [2], [1, 4 + i % 9, 4 + i % 7, 2]) for i in range(40)]
def model():
    torch.manual_seed(7)
    return Transformer(TransformerConfig(13, 16, 2, 1, 32, 0.0, max_length=16))
"""


def test_each_process_drops_other_elements(tmp_path):
    code = """
    import torch.distributed as dist
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    trainer = Trainer(model(), TrainConfig(4, 60, device="cpu", dtype="float32"), pairs)
    mask = torch.nn.functional.dropout(torch.ones(1000), 0.5)
    both = [torch.empty_like(mask) for _ in range(2)]
    dist.all_gather(both, mask)
    weights = [torch.empty_like(trainer.model.embedding.weight) for _ in range(2)]
    dist.all_gather(weights, trainer.model.embedding.weight.detach())
    if dist.get_rank() == 0:
        print(float((both[0] == both[1]).float().mean()), torch.equal(*weights))
    """
    (tmp_path / "ranks.py").write_text(SETTING + textwrap.dedent(code))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "ranks.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    equal, same_weights = done.stdout.split()
    assert 0.4 < float(equal) < 0.6
    assert same_weights == "True"


def test_muon_matches_torch_muon(tmp_path):
    """torch.optim.Muon always computes in bfloat16, so the results are equal up to its rounding."""
    code = """
    from transformer_torch._common.muon import Muon
    torch.manual_seed(0)
    first = [torch.randn(shape, dtype=torch.float64) for shape in ((24, 8), (8, 24), (8, 8), (8, 8))]
    ours, theirs = ([torch.nn.Parameter(w.float()) for w in first] for _ in "ab")
    a = Muon(ours, 0.5, scale="rms", dtype=torch.bfloat16)
    b = torch.optim.Muon(theirs, lr=0.5, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn(p.shape)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    moved = [(p.detach() - w).norm() for p, w in zip(ours, first)]
    print(max(float((p - q).detach().norm() / m) for p, q, m in zip(ours, theirs, moved)))
    """
    done = run_python(SETTING + textwrap.dedent(code), tmp_path, ONEDNN_MAX_CPU_ISA="AVX512_CORE_FP16")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.02


def test_low_precision_learns_as_float32_does(tmp_path):
    """Where float16 overflows, no optimizer takes the step."""
    code = """
    for dtype in ("float32", "bfloat16", "float16"):
        options = {"grad_clip": 1.0, "warmup_steps": 20, "optimizer": "muon", "device": "cpu", "dtype": dtype}
        trainer = Trainer(model(), TrainConfig(60, 400, **options), pairs)
        seen = []
        trainer.fit(lambda metrics: seen.append(metrics["smoothed_loss"]))
        print(json.dumps([seen, str(trainer.scaler.is_enabled()), str(next(trainer.model.parameters()).dtype)]))
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**80)
    before = trainer.weights()
    trainer.step([[0, 1, 2]])
    assert all(torch.equal(before[name], now) for name, now in trainer.weights().items())
    assert trainer.scaler.get_scale() == 2.0**79
    """
    # without AMX, in which bfloat16 crashes on some virtual machines
    done = run_python(SETTING + textwrap.dedent(code), tmp_path, ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16")
    assert done.returncode == 0, done.stderr
    wide, brain, half = (json.loads(line) for line in done.stdout.splitlines())
    for low in (brain, half):
        # rounding errors grow with every step: close in the first ten, and as good at the end
        apart = [abs(a - b) for a, b in zip(low[0][:10], wide[0][:10], strict=True)]
        assert 0 < max(apart) < 0.01
        assert max(low[0][-1], wide[0][-1]) < 1.3
    kinds = [found[1:] for found in (wide, brain, half)]
    assert kinds == [["False", "torch.float32"], ["False", "torch.float32"], ["True", "torch.float32"]]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")
def test_a_device_that_is_not_available_is_refused():
    from transformer_torch import TrainConfig, Trainer, Transformer, TransformerConfig

    model = Transformer(TransformerConfig(13, 16, 2, 1, 32))
    with pytest.raises(ValueError, match=r"`device` must be auto or a device .*, got 'cuda'"):
        Trainer(model, TrainConfig(device="cuda"), [([5, 2], [1, 5, 2])])
