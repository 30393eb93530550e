"""Which device and which number format to compute in."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from gpt2.settings import DTypeName

# Some virtual machines announce matrix instructions that then do not run: a product in bfloat16 ends the process.
# So the question is put to a process of its own.
_PROBE = """
import time, torch
torch.set_num_threads(1)
def seconds(dtype):
    x = torch.ones(512, 512, dtype=dtype)
    x @ x
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        x @ x
        best = min(best, time.process_time() - start)
    return best
print([seconds(torch.float32), seconds(torch.bfloat16)])
"""


@cache
def bf16_speedup_on_cpu() -> float | None:
    """How much faster this CPU multiplies matrices in bfloat16 than in float32; None if it cannot."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    in_float32, in_bfloat16 = json.loads(done.stdout)
    return float(in_float32 / in_bfloat16)


def resolve_dtype(name: DTypeName, device: torch.device) -> torch.dtype:
    """`auto`: bfloat16 where it is faster (on a CPU: measured once), else float32.

    ValueError for bfloat16 on a CPU whose products in it end the process.
    """
    if name == "auto":
        if device.type == "cpu":
            faster = (bf16_speedup_on_cpu() or 0.0) > 1
        else:
            faster = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if faster else torch.float32
    if name == "bfloat16" and device.type == "cpu" and bf16_speedup_on_cpu() is None:
        raise ValueError(
            "dtype: bfloat16 products end the process on this CPU (it announces AMX, but does not run it); "
            "use float32, or set ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16"
        )
    found: torch.dtype = getattr(torch, name)
    return found


def resolve_device(name: str) -> torch.device:
    """`auto`: cuda, mps or cpu, the first that is there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: {name!r} is not usable here ({str(error).splitlines()[0]})") from None
    return device


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """The operations a second that large matrix products reach here: what a run's utilisation (MFU) is a share of."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def seconds() -> float:
        float((a @ b)[0, 0])  # waits for what was asked for before
        start = time.perf_counter()
        float((a @ b)[0, 0])
        return time.perf_counter() - start

    return 2 * size**3 / min(seconds() for _ in range(5))


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Products in `dtype`; nothing to do for float32."""
    return torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext()
