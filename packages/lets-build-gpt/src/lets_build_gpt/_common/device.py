# Vendored: edit shared/vendored/device.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Select the device and the dtype: resolved once, then printed and stored with the run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from .errors import check_choice, invalid

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MIN_SPEEDUP = 1.2  # bfloat16 rounds to 8 bits, so it must be clearly faster before `auto` chooses it

# A matmul in bfloat16 ends the process on virtual machines that announce AMX and do not provide it, so it is tried in
# a process of its own. CPU time, one thread, the best of several: what else the machine does matters little.
_PROBE = """
import time, torch
torch.set_num_threads(1)
def seconds(dtype):
    x = torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(8):
        start = time.process_time()
        x @ x
        times.append(time.process_time() - start)
    return min(times[2:])
print(seconds(torch.float32) / seconds(torch.bfloat16))
"""


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of a name; "auto": cuda, mps or cpu, the first that is available.

    Raises: ValueError if the device is unknown or not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":  # it holds no data
            raise ValueError
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError, TypeError):
        raise invalid("device", "be auto or a device that PyTorch can use on this machine", name) from None
    return device


@cache
def _probed_speedup(isa: str) -> float | None:
    """The speedup of a bfloat16 matmul over float32 with oneDNN limited to `isa` ("": as it is); None if it crashes."""
    environment = {**os.environ, **({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})}
    done = subprocess.run([sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, check=False)
    try:
        return float(done.stdout) if done.returncode == 0 else None
    except ValueError:
        return None


def bf16_speedup() -> float | None:
    """Return how much faster this CPU multiplies matrices in bfloat16 than in float32, or None if it cannot.

    Measured once per process, in a subprocess (2 s).
    """
    return _probed_speedup("")


def pick_dtype(name: str, device: torch.device, say: Callable[[str], None] = lambda text: None) -> torch.dtype:
    """Return the autocast dtype of a name.

    "auto": bfloat16 where it is faster than float32 (on a CPU: measured, at least 1.2x), else float32. Where a CPU
    announces AMX but crashes in it, oneDNN is limited to AVX512-BF16 for this process first; `say` is told so.
    Raises: ValueError for an unknown name, and for bfloat16 on a CPU that cannot compute it.
    """
    check_choice("dtype", name, ("auto", *DTYPES))
    if device.type == "cuda" and name == "auto":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type != "cpu" or name not in ("auto", "bfloat16"):
        return torch.float32 if name == "auto" else DTYPES[name]
    speedup = bf16_speedup()
    if speedup is None and "ONEDNN_MAX_CPU_ISA" not in os.environ:
        speedup = _probed_speedup("AVX512_CORE_BF16")
        if speedup is not None and (name == "bfloat16" or speedup >= MIN_SPEEDUP):
            os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"
            say("This CPU announces AMX but cannot run it: using AVX512-BF16 (ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16).")
    if name == "bfloat16":
        if speedup is None:
            raise invalid("dtype", "be float32 on this CPU, where a bfloat16 matmul crashes", name)
        return torch.bfloat16
    return torch.bfloat16 if speedup is not None and speedup >= MIN_SPEEDUP else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """Return "float32", "bfloat16" or "float16", as config.json stores it."""
    return str(dtype).removeprefix("torch.")


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return a context in which matmuls run in `dtype`; float32 needs none."""
    return torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext()
