"""The utilities of shared/vendored, tested once: every package holds an identical copy."""

import json
import math
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from gpt2._common import atomic, device, errors, metrics, optional, run_folder, tensors
from gpt2._common.interrupt import defer_sigint
from gpt2._common.muon import Muon, orthogonalize
from gpt2._common.progress import Progress
from hypothesis import given
from hypothesis import strategies as st

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files and signals")


# ----------------------------------------------------------------------------------------------- atomic writes


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_gets_the_mode_of_the_umask_and_an_existing_one_keeps_its_own(tmp_path, umask):
    path = tmp_path / "a" / "b.json"
    before = os.umask(umask)
    try:
        atomic.write_json(path, {"x": 1})
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        path.chmod(0o640)
        atomic.write_json(path, {"x": 2})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert atomic.read_json(path) == {"x": 2}


def test_an_error_leaves_the_previous_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "first")

    def fail():
        with atomic.atomic_write(path) as temporary:
            temporary.write_text("second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "first"


@posix
def test_a_symbolic_link_is_followed(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    atomic.write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@posix
def test_a_device_is_written_through_and_not_replaced():
    atomic.write_text("/dev/null", "x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@posix
def test_a_pipe_is_written_through(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    atomic.write_text(pipe, "through")
    reader.join(10)
    assert found == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_is_refused_by_name(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path.name)):
        atomic.write_text(tmp_path, "x")


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"a\.txt"):
            atomic.write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


@posix
def test_a_full_disk_names_the_file():
    with pytest.raises(OSError, match="/dev/full"):
        atomic.write_text("/dev/full", "x")


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [1.0, -math.inf]}])
def test_nan_and_infinity_never_enter_json(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "not a valid JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 100_000, "not a valid JSON"),
        (None, "not found"),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path, content, problem):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=problem) as found:
        atomic.read_json(path)
    assert str(path) in str(found.value)


@given(st.text())
def test_text_is_read_without_byte_order_mark_and_with_one_kind_of_line_end(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("t") / "a.txt"
    content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(b"\xef\xbb\xbf" + content)
    if any("\ud800" <= c <= "\udfff" for c in text):
        with pytest.raises(ValueError, match="not UTF-8"):
            atomic.read_text(path)
    else:
        assert atomic.read_text(path) == text.replace("\r\n", "\n").replace("\r", "\n")


# ------------------------------------------------------------------------------------------- errors, optional


@pytest.mark.parametrize("value", [2.5, "3", True, None, math.nan, [1], np.float64(1), b"1"])
def test_what_is_not_an_integer_is_refused(value):
    with pytest.raises(ValueError, match="`n` must be an integer of at least 1, got "):
        errors.check_integer("n", value, 1)


@pytest.mark.parametrize("value", [1, np.int64(3), np.uint8(200)])
def test_integers_of_numpy_are_integers(value):
    errors.check_integer("n", value, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", True, -0.1, 1.0, 10**400, None, 1j])
def test_what_is_not_a_fraction_is_refused(value):
    with pytest.raises(ValueError, match=r"`p` must be in \[0, 1\), got "):
        errors.check_fraction("p", value)


def test_a_missing_dependency_says_how_to_install_it():
    with pytest.raises(optional.MissingDependencyError, match=r"drawing needs no-such-thing\. Install it: pip install"):
        optional.require("no_such_thing", "drawing")


# --------------------------------------------------------------------------------------------- device and dtype


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cpu:x", "meta", "meta:-2"])
def test_a_device_that_cannot_be_used_is_refused(name):
    with pytest.raises(ValueError, match="`device` must be auto or a device"):
        device.pick_device(name)


@pytest.mark.parametrize(("speedup", "expected"), [(None, "float32"), (1.19, "float32"), (1.2, "bfloat16")])
def test_auto_takes_bfloat16_from_one_threshold_on(monkeypatch, speedup, expected):
    monkeypatch.setattr(device, "_probed_speedup", lambda isa: speedup)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    assert device.dtype_name(device.pick_dtype("auto", torch.device("cpu"))) == expected


def test_a_cpu_that_crashes_in_amx_falls_back_to_avx512_and_says_so(monkeypatch):
    monkeypatch.setattr(device, "_probed_speedup", {"": None, "AVX512_CORE_BF16": 1.9}.get)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    said = []
    try:
        assert device.pick_dtype("auto", torch.device("cpu"), said.append) == torch.bfloat16
        assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX512_CORE_BF16"
    finally:
        os.environ.pop("ONEDNN_MAX_CPU_ISA", None)
    assert "AVX512-BF16" in said[0]


def test_a_cpu_that_crashes_in_bfloat16_refuses_it(monkeypatch):
    monkeypatch.setattr(device, "_probed_speedup", lambda isa: None)
    with pytest.raises(ValueError, match="`dtype` must be float32 on this CPU"):
        device.pick_dtype("bfloat16", torch.device("cpu"))


def test_the_probe_measures_this_cpu():
    speedup = device.bf16_speedup()
    assert speedup is None or 0.01 < speedup < 100


# ---------------------------------------------------------------------------------------------- metrics and runs


def test_metrics_are_finite_and_known(tmp_path):
    writer = metrics.MetricsWriter(tmp_path / "metrics.jsonl", ("exact_match",))
    assert writer.write(step=1, loss=2.5, val_loss=None, exact_match=0.5) == {
        "step": 1,
        "loss": 2.5,
        "exact_match": 0.5,
    }
    with pytest.raises(ValueError, match="`loss` must be finite"):
        writer.write(step=2, loss=math.nan)
    with pytest.raises(ValueError, match="seconds"):
        writer.write(step=2, seconds=1.0)
    assert len(metrics.read_metrics(writer.path)) == 1


def test_a_last_line_that_was_cut_short_is_dropped_and_another_one_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert [line["step"] for line in metrics.read_metrics(path)] == [1, 2]
    metrics.MetricsWriter(path).truncate(1)
    assert path.read_text() == '{"step": 1}\n'
    path.write_text('{"ste\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl:1: not a line of metrics"):
        metrics.read_metrics(path)


def test_clocks_add_up_over_sessions():
    assert metrics.Clock(100.0, 50.0).read()["wall_seconds"] >= 100.0


def test_a_folder_with_a_run_is_claimed_only_on_request(tmp_path):
    assert run_folder.claim_run_folder(tmp_path / "new", resume=False, overwrite=False) is False
    (tmp_path / "config.json").write_text('{"train": {}, "version": "0.2.0"}')
    assert run_folder.claim_run_folder(tmp_path, resume=True, overwrite=False) is False  # killed before a checkpoint
    (tmp_path / "training_state.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"--resume.*--overwrite.*--out"):
        run_folder.claim_run_folder(tmp_path, resume=False, overwrite=False)
    assert run_folder.claim_run_folder(tmp_path, resume=True, overwrite=False) is True
    (tmp_path / "notes.txt").write_text("mine")
    run_folder.clear_run_folder(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", ["{}", '{"model_type": "gpt2"}', "not JSON"])
def test_a_model_that_is_not_a_run_is_not_overwritten(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="not a run"):
        run_folder.claim_run_folder(tmp_path, resume=False, overwrite=False)


def test_the_setting_that_differs_is_named(tmp_path):
    saved = {"model": {"d_model": 8, "betas": [0.9, 0.95]}, "train": {"seed": 0, "device": "cpu"}}
    now = {"model": {"d_model": 8, "betas": (0.9, 0.95)}, "train": {"seed": 1, "device": "cuda"}}
    with pytest.raises(ValueError, match=r"`seed` must be 0 to resume .*, got 1"):
        run_folder.check_same_settings(saved, now, tmp_path, ignore=("device",))
    run_folder.check_same_settings(saved, now, tmp_path, ignore=("device", "seed"))


def test_tensors_that_do_not_fit_are_named_and_the_model_is_unchanged(tmp_path):
    model = torch.nn.Linear(2, 3)
    before = model.weight.clone()
    path = tmp_path / "model.safetensors"
    for weights, problem in (
        ({"weight": torch.zeros(3, 2)}, "tensor bias is missing"),
        (
            {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)},
            r"tensor weight must have shape \(3, 2\), got \(2, 2\)",
        ),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "x": torch.zeros(1)}, "tensor x is not part"),
    ):
        tensors.write_tensors(path, weights)
        with pytest.raises(ValueError, match=problem):
            tensors.load_weights(model, tensors.read_tensors(path)[0], path)
    assert torch.equal(model.weight, before)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a valid safetensors file"):
        tensors.read_tensors(path)


# ------------------------------------------------------------------------------------------- signals, progress


@posix
def test_a_signal_is_deferred_and_a_second_one_interrupts():
    with defer_sigint() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_progress_without_a_terminal_is_one_line_after_a_while(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("gpt2._common.progress.time.monotonic", lambda: now[0])
    with Progress(1000) as progress:
        progress.update(1, loss="3.0")
        now[0] = 31.0
        progress.update(500, loss="2.5")
        progress.update(501)
    assert capsys.readouterr().err == "500 of 1,000 steps  loss 2.5\n"


# ------------------------------------------------------------------------------------------------------- Muon


@pytest.mark.parametrize(("scale", "theirs"), [("spectral", "original"), ("rms", "match_rms_adamw")])
@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24)])
def test_muon_equals_torchs_when_that_computes_in_float32(monkeypatch, scale, theirs, shape):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)  # torch's always casts to bfloat16
    torch.manual_seed(0)
    a = [torch.randn(shape) for _ in range(2)]
    b = [p.clone() for p in a]
    optimizers = [
        Muon(a, lr=0.1, momentum=0.9, weight_decay=0.2, scale=scale),
        torch.optim.Muon(b, lr=0.1, momentum=0.9, weight_decay=0.2, adjust_lr_fn=theirs),
    ]
    for _ in range(4):
        for p, q in zip(a, b, strict=True):
            p.grad = torch.randn(shape)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_orthogonalize_brings_singular_values_near_one():
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(3, 16, 40)))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def test_muon_takes_matrices_only():
    with pytest.raises(ValueError, match="`params` must be matrices"):
        Muon([torch.zeros(3)], lr=0.1, scale="rms")


# -------------------------------------------------------------------------------------------- command line

PROGRAM = """
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
import tyro
from gpt2._common.cli import Presets, run
from gpt2._common.errors import DivergenceError, check_divides

@dataclass(frozen=True)
class Config:
    d_model: int = 8
    "Width."
    n_heads: int = 2
    "Heads."
    kind: Literal["a", "b"] = "a"
    "Kind."
    pad_id: int | None = None
    "Padding."

    def __post_init__(self):
        check_divides("n_heads", self.n_heads, "d_model", self.d_model)

@dataclass
class Do:
    '''Do something.

    Example: gpt2 do x
    '''

    what: tyro.conf.Positional[str]
    "What to do."
    config: Config = field(default_factory=Config)

    def __call__(self):
        if self.what == "diverge":
            raise DivergenceError("loss became NaN at step 3")
        if self.what == "file":
            open("no/such/file")
        if self.what == "interrupt":
            raise KeyboardInterrupt
        if self.what == "lines":
            for i in range(100_000):
                print(i)
        if self.what == "read":
            print(sys.stdin.read())
        if self.what == "memory":
            raise MemoryError
        print(self.what, self.config)

run({"do": Do, "fit": Presets("Fit.", {"one": ("First.", Do("one"))}, lambda a: "one")}, prog="gpt2", description="It.")
"""


def program(*arguments, **options):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, **options)


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["do", "x", "--n-heads", "3"], 2, "error: `n_heads` must divide `d_model` = 8, got 3"),
        (["do", "x", "--d-model", "z"], 2, "error: `d_model` must be an integer, got 'z'"),
        (["do", "x", "--pad-id", "1.5"], 2, "error: `pad_id` must be an integer, got '1.5'"),
        (["do", "x", "--kind", "c"], 2, "error: `kind` must be one of a, b, got 'c'"),
        (["do"], 2, "error: `gpt2 do` needs TEXT. `gpt2 do --help` describes it"),
        (["do", "x", "--d-model"], 2, "error: `d_model` needs a value. `gpt2 do --help` describes it"),
        (["doo"], 2, "error: `command` must be one of do, fit, got 'doo'. Did you mean do?"),
        (["fit", "two"], 2, "error: `recipe` must be one of one, got 'two'. `gpt2 fit --help` lists them"),
        (["do", "file"], 2, "error: no/such/file: No such file or directory"),
        (["do", "memory"], 2, "error: out of memory"),
        (["do", "diverge"], 1, "error: loss became NaN at step 3"),
        (["do", "interrupt"], 130, "interrupted"),
    ],
)
def test_every_failure_is_one_line(arguments, status, line):
    done = program(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", line + "\n")


def test_text_is_utf_8_in_any_locale():
    done = program("do", "read", input="größe ✓", env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"})
    assert done.stdout.startswith("größe ✓"), done.stderr
    bad = subprocess.run([sys.executable, "-c", PROGRAM, "do", "read"], input=b"\xff", capture_output=True, check=False)
    assert bad.returncode == 2
    assert bad.stderr.startswith(b"error: ")
    assert bad.stderr.count(b"\n") == 1


@posix
def test_a_reader_that_stops_reading_is_silent():
    command = ["bash", "-c", '"$0" -c "$1" do lines | head -n 1', sys.executable, PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_config_json_holds_no_tuples_as_settings(tmp_path):
    atomic.write_json(tmp_path / "a.json", {"betas": (0.9, 0.95)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"betas": [0.9, 0.95]}
