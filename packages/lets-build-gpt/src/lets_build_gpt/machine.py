"""What this machine is good for: which device, which number format, how memory is kept."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import sys

import torch

# Times one product of each kind. In a process of its own: where an emulated CPU claims bfloat16 units that it does
# not have, the product ends the process.
_PROBE = """
import time, torch
torch.set_num_threads(1)
seconds = {}
for dtype in (torch.float32, torch.bfloat16):
    a = torch.randn(512, 512).to(dtype)
    a @ a
    start = time.process_time()
    for _ in range(20):
        a @ a
    seconds[dtype] = time.process_time() - start
print(seconds[torch.float32] / seconds[torch.bfloat16])
"""


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; auto is cuda, mps or cpu, the first that is there. ValueError for one that is not."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: {name!r} is not to be had here ({str(error).splitlines()[0]})") from error


@functools.cache
def bfloat16_speed() -> float:
    """How many times faster than float32 this CPU multiplies in bfloat16; 0 where it cannot."""
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    return float(probe.stdout) if probe.returncode == 0 else 0.0


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type of the matrix products. auto: bfloat16 where it pays (on a CPU, where it is measured faster)."""
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if device.type == "cpu" and bfloat16_speed() > 1.2 else torch.float32
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        raise ValueError(f"dtype: {name!r}; it has to be auto, {', '.join(dtypes)}")
    if device.type == "cpu" and name == "bfloat16" and bfloat16_speed() == 0:
        raise ValueError("dtype: 'bfloat16' products do not run on this CPU; use float32")
    return dtypes[name]


def keep_freed_memory() -> bool:
    """Have glibc keep what large tensors free instead of handing it back: their next pages then cost no fault.

    Worth a fifth to a third of a training step on a CPU. Call it before the first large tensor. False elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # musl
        return False
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    settings = ((m_mmap_max, 0), (m_trim_threshold, 2**31 - 1), (m_top_pad, 64 * 2**20))
    return all(libc.mallopt(option, value) == 1 for option, value in settings)
