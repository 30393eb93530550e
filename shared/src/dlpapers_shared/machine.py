"""The environment of a measurement: versions, CPU, instruction sets, threads, load, and environment variables."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

VARIABLES = (
    "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "ONEDNN_", "DNNL_",
    "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "LD_PRELOAD", "MALLOC_",
    "GLIBC_TUNABLES", "PYTHONMALLOC", "PYTHON_GIL", "TORCH_", "CUDA_VISIBLE_DEVICES", "TOKENIZERS_PARALLELISM",
    "RAYON_NUM_THREADS", "NUMBA_",
)  # fmt: skip
"""Environment variables that change a benchmark's numbers: full names, and prefixes that end in an underscore."""

INSTRUCTION_SETS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip
"""Flags of a CPU that decide which kernels numerical libraries choose."""


def environment(*distributions: str) -> dict[str, Any]:
    """Return where and when a measurement is made.

    Keys: versions (of Python and the named distributions), cpu, cpu_family ("6/143/8": family, model, stepping), cores
    (usable by this process), instruction_sets, threads (of the libraries that are loaded), load (average over one
    minute), variables (those of VARIABLES that are set), date (UTC).
    Raises: ValueError for a distribution that is not installed.
    """
    versions = {"python": platform.python_version()}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise ValueError(f"`distributions` must be installed, got {name!r}, which is not installed") from None
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    info = _cpu_info()
    numbers = [info[key] for key in ("cpu family", "model", "stepping") if key in info]
    flags = set((info.get("flags") or info.get("Features") or "").split())
    found = {
        "versions": versions,
        "cpu": cpu_model(),
        "cpu_family": "/".join(numbers) or None,
        "cores": usable,
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "threads": _threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "variables": variables(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    return {key: value for key, value in found.items() if value is not None}


def variables() -> dict[str, str]:
    """Return the environment variables that are set and change a benchmark's numbers, by name."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if any(name.startswith(known) if known.endswith("_") else name == known for known in VARIABLES)
    }


def cpu_model() -> str:
    """Return the name of the processor, or at least its architecture."""
    name = _cpu_info().get("model name", "")
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return name or platform.processor() or platform.machine()


def _cpu_info() -> dict[str, str]:
    """Return what Linux states about the first processor; nothing on other systems."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _threads() -> dict[str, int]:
    """Return the threads of the numerical libraries that are loaded: torch, and with threadpoolctl BLAS and OpenMP."""
    found = {}
    if (torch := sys.modules.get("torch")) is not None:
        found["torch"] = int(torch.get_num_threads())
    if (pools := sys.modules.get("threadpoolctl")) is not None:
        found |= {pool["internal_api"]: int(pool["num_threads"]) for pool in pools.threadpool_info()}
    return found
