"""Which device and which number type: by measurement where it matters."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import torch

from transformer_torch.config import Device, Dtype

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# In a process of its own: on some virtual machines bfloat16 products end with an illegal instruction.
PROBE = """
import time, torch
torch.set_num_threads(1)
def seconds(dtype):
    a = torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(12):
        start = time.process_time()
        a @ a
        times.append(time.process_time() - start)
    return min(times[2:])
print(seconds(torch.float32) / seconds(torch.bfloat16))
"""


@cache
def cpu_bfloat16_speed() -> float:
    """How many times as fast as float32 a bfloat16 product is on this CPU; 0: it cannot be done. Takes a second."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    try:
        return float(done.stdout) if done.returncode == 0 else 0.0
    except ValueError:
        return 0.0


def choose_device(device: Device) -> torch.device:
    """The device of a name; auto: cuda, then mps, then cpu. ValueError for one that is not there."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in here.items() if there))
    if not here[device]:
        raise ValueError(
            f"device: {device} is not available here; accepted: {', '.join(n for n, t in here.items() if t)}"
        )
    return torch.device(device)


def choose_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """The type of autocast; float32 is none. ValueError for bfloat16 on a CPU that cannot compute it."""
    if dtype == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        return torch.bfloat16 if device.type == "cpu" and cpu_bfloat16_speed() > 1.5 else torch.float32
    if dtype == "bfloat16" and device.type == "cpu" and cpu_bfloat16_speed() == 0.0:
        raise ValueError("dtype: bfloat16 products fail on this CPU; accepted: float32, float16")
    return TYPES[dtype]
