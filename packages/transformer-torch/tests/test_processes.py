"""What needs processes of its own: several that train together, number types, the allocator."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from transformer_torch.__main__ import main
from transformer_torch.allocator import keep_memory
from transformer_torch.device import choose_device, choose_dtype, cpu_bfloat16_speed


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


SETTING = """
import json, os, sys, torch
from transformer_torch import TrainConfig, Trainer, Transformer, TransformerConfig
pairs = [([4 + (i * k) % 9 for k in range(1, 2 + i % 5)] + [2], [1, 4 + i % 9, 4 + i % 7, 2]) for i in range(40)]
def model():
    torch.manual_seed(7)
    return Transformer(TransformerConfig(13, 16, 2, 1, 32, 0.0, max_length=16))
"""


def test_two_processes_have_the_losses_of_one(tmp_path, monkeypatch):
    """By the command line, as the README has it; batches of few pairs, so that the processes' shares are unlike."""
    options = [
        "train",
        "dates",
        "--d-model",
        "16",
        "--d-ff",
        "16",
        "--steps",
        "8",
        "--decay",
        "0",
        "--valid-every",
        "8",
    ]
    options += ["--max-tokens", "140", "--accumulate", "2", "--device", "cpu", "--dtype", "float32"]
    options += ["--optimizer", "muon", "--out"]  # and Adam for what is not a matrix of a layer
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "transformer_torch", *options, "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["transformer-torch", *options, "one"])
    main()
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == len(two) == 8
    for a, b in zip(one, two, strict=True):
        assert abs(a["loss"] - b["loss"]) < 1e-4
        assert abs(a["grad_norm"] - b["grad_norm"]) < 1e-4


def test_muon_is_the_muon_of_torch(tmp_path):
    """Which multiplies in bfloat16 always: in a process of its own, as below, and equal but for that rounding."""
    code = """
    from transformer_torch.optimizers import Muon
    torch.manual_seed(0)
    first = [torch.randn(shape, dtype=torch.float64) for shape in ((24, 8), (8, 24), (8, 8), (8, 8))]
    ours, theirs = ([torch.nn.Parameter(w.float()) for w in first] for _ in "ab")
    a = Muon(ours, lr=0.5, dtype=torch.bfloat16)
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


def test_short_types_learn_as_float32_does(tmp_path):
    """In a process of its own, kept from instructions on which bfloat16 fails on some virtual machines.

    Where float16 overflows, no optimizer takes the step.
    """
    code = """
    import transformer_torch.train as train
    train.choose_dtype = lambda dtype, device: getattr(torch, dtype)
    for dtype in ("float32", "bfloat16", "float16"):
        options = {"clip": 1.0, "warmup": 20, "optimizer": "muon", "device": "cpu", "dtype": dtype}
        trainer = Trainer(model(), TrainConfig(60, 400, **options), pairs)
        seen = []
        trainer.run(lambda metrics: seen.append(metrics["loss"]))
        print(json.dumps([seen, str(trainer.scaler.is_enabled()), str(next(trainer.model.parameters()).dtype)]))
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**80)
    before = trainer.weights()
    trainer.update([[0, 1, 2]])
    assert all(torch.equal(before[name], now) for name, now in trainer.weights().items())
    assert trainer.scaler.get_scale() == 2.0**79
    """
    done = run_python(SETTING + textwrap.dedent(code), tmp_path, ONEDNN_MAX_CPU_ISA="AVX512_CORE_FP16")
    assert done.returncode == 0, done.stderr
    wide, brain, half = (json.loads(line) for line in done.stdout.splitlines())
    for short in (brain, half):
        # rounding grows with every update: close in the first ten, and as good at the end
        apart = [abs(a - b) for a, b in zip(short[0][:10], wide[0][:10], strict=True)]
        assert 0 < max(apart) < 0.01
        assert max(short[0][-1], wide[0][-1]) < 1.3
    assert (wide[1:], brain[1:], half[1:]) == (
        ["False", "torch.float32"],
        ["False", "torch.float32"],
        ["True", "torch.float32"],
    )


def test_the_number_type_is_chosen_by_measurement(monkeypatch):
    cpu = torch.device("cpu")
    assert cpu_bfloat16_speed() >= 0
    for speed, auto in ((0.0, torch.float32), (1.0, torch.float32), (4.0, torch.bfloat16)):
        monkeypatch.setattr("transformer_torch.device.cpu_bfloat16_speed", lambda speed=speed: speed)
        assert choose_dtype("auto", cpu) == auto
    monkeypatch.setattr("transformer_torch.device.cpu_bfloat16_speed", lambda: 0.0)
    with pytest.raises(ValueError, match="bfloat16"):
        choose_dtype("bfloat16", cpu)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cuda"):
            choose_device("cuda")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_memory_stays_in_the_process(tmp_path):
    code = """
    import resource, sys, torch
    from transformer_torch.allocator import keep_memory
    torch.set_num_threads(1)
    def faults():
        for _ in range(5): torch.empty(1 << 26, dtype=torch.uint8).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    def more():
        faults(); before = faults(); return faults() - before
    print(more(), keep_memory(), more())
    """
    by_default, possible, kept = run_python(code, tmp_path).stdout.split()
    assert possible == "True"
    assert int(kept) * 10 < int(by_default)
    assert isinstance(keep_memory(), bool)
