"""Products for decoding in C (products.c), built by the compiler of the machine: as fast as the weights can be read.

torch's kernels are made for many rows. For the one row that decoding has, its float16 and int8 products reach about
half of what memory gives (results/decode-1-1.json). Activations and sums here are float32, whatever the weights are.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SOURCE = Path(__file__).with_name("products.c")
# the first that the compiler takes: all instructions of this CPU and threads, the former, neither
FLAGS: tuple[list[str], ...] = (["-march=native", "-fopenmp"], ["-march=native"], ["-mcpu=native"], [])
NAMES = {torch.float32: "product_float", torch.float16: "product_half", torch.int8: "product_int8"}
MANY_ROWS = 32  # of more than so many, torch's float32 product is faster


@cache
def library() -> ctypes.CDLL:
    """products.c, compiled (some seconds, once in a process). ValueError where there is no compiler that can."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or os.name != "posix":
        raise ValueError("compile: needs a C compiler (cc, or what CC names) on Linux or macOS")
    said = ""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "products.so")
        for flags in FLAGS:
            command = [compiler, "-O2", "-ffast-math", "-shared", "-fPIC", *flags, "-o", path, str(SOURCE)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise ValueError(f"compile: {compiler} does not start ({error})") from None
            if done.returncode == 0:
                found = ctypes.CDLL(path)  # stays mapped when the file is gone
                for name in NAMES.values():
                    getattr(found, name).argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_long] * 3 + [ctypes.c_int]
                    getattr(found, name).restype = None
                return found
            said = next((line for line in done.stderr.splitlines() if "error" in line), f"status {done.returncode}")
    raise ValueError(f"compile: {compiler} cannot ({said})")


class CompiledLinear(nn.Module):
    """y = scale (W x) + b with W stored (d_out, d_in) in float32, float16 or int8. For generation: no gradient."""

    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.product: Callable[..., Any] = getattr(library(), NAMES[weight.dtype])
        self.register_buffer("weight", weight.detach().contiguous())
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.addresses = tuple(None if t is None else t.data_ptr() for t in (self.weight, self.scale, self.bias))

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply it to the last axis."""
        d_out, d_in = self.weight.shape
        count = x.numel() // d_in
        if count > MANY_ROWS:
            y = F.linear(x, self.weight.to(x.dtype))
            y = y if self.scale is None else y * self.scale
            return y if self.bias is None else y + self.bias
        x = x.contiguous()
        y = torch.empty(*x.shape[:-1], d_out)
        self.product(*self.addresses, x.data_ptr(), y.data_ptr(), d_out, d_in, count, torch.get_num_threads())
        return y
