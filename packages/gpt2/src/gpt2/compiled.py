"""Decoding in C, built by the compiler of the machine: about as fast as the weights can be read.

torch's kernels are made for many rows. For the one row that decoding has, its float16 and int8 products reach about
half of what memory gives (results/decode-1-1.json): products.c has others. block.c puts them together to the step of
one new token through a block. Activations and sums are float32, but beside int8 weights 16-bit and 32-bit integers.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gpt2.cache import KVCache
from gpt2.model import Block, Cache, Record

SOURCES = [str(Path(__file__).with_name(name)) for name in ("products.c", "block.c")]
# the first that the compiler takes: all instructions of this CPU and threads, the former, neither
FLAGS: tuple[list[str], ...] = (["-march=native", "-fopenmp"], ["-march=native"], ["-mcpu=native"], [])
NAMES = {torch.float32: "product_float", torch.float16: "product_half", torch.int8: "product_int8"}
MANY_ROWS = 32  # of more than so many, torch's float32 product is faster


@cache
def library() -> ctypes.CDLL:
    """products.c and block.c, compiled (some seconds, once in a process). ValueError where no compiler can."""
    named = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if named is None or os.name != "posix":
        raise ValueError("compile: needs a C compiler (cc, or what CC names) on Linux or macOS")
    compiler, said = shlex.split(named), ""
    with tempfile.TemporaryDirectory() as folder:
        for flags in FLAGS:
            # linked in a step of its own: with -ffast-math a compiler links code that rounds the smallest numbers to
            # zero in the whole process, torch's too
            done = _run([*compiler, "-O3", "-ffast-math", "-fPIC", *flags, "-c", *SOURCES], folder)
            if done.returncode == 0:
                objects = [Path(source).with_suffix(".o").name for source in SOURCES]
                done = _run([*compiler, "-shared", *flags, "-o", "decoding.so", *objects, "-lm"], folder)
            if done.returncode == 0:
                return _declared(ctypes.CDLL(str(Path(folder) / "decoding.so")))  # stays mapped when the file is gone
            said = next((line for line in done.stderr.splitlines() if "error" in line), f"status {done.returncode}")
    raise ValueError(f"compile: {named} cannot ({said})")


def _run(command: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ValueError(f"compile: {command[0]} does not start ({error})") from None


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of its functions' arguments."""
    for name in NAMES.values():
        getattr(found, name).argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_long] * 3 + [ctypes.c_int]
        getattr(found, name).restype = None
    found.block_step.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_long, ctypes.c_int]
    found.block_step.restype = None
    return found


def stay(*_: Any, **__: Any) -> None:
    """What moving or casting a compiled model comes to."""
    raise RuntimeError("a compiled model cannot be moved or cast: C holds the addresses of its numbers")


class CompiledLinear(nn.Module):
    """y = scale (W x) + b with W stored (d_out, d_in) in float32, float16 or int8. For generation: no gradient."""

    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.product: Any = getattr(library(), NAMES[weight.dtype])
        self.register_buffer("weight", weight.detach().contiguous())
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().float().contiguous())

    def addresses(self) -> tuple[int | None, ...]:
        """Of weight, scale and bias."""
        return tuple(None if t is None else t.data_ptr() for t in (self.weight, self.scale, self.bias))

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply it to the last axis."""
        d_out, d_in = self.weight.shape
        count = x.numel() // d_in
        if count > MANY_ROWS:
            y = F.linear(x, self.weight.to(x.dtype))
            y = y if self.scale is None else y * self.scale
            return y if self.bias is None else y + self.bias
        x = x.float().contiguous()
        y = torch.empty(*x.shape[:-1], d_out, dtype=torch.float32)
        self.product(*self.addresses(), x.data_ptr(), y.data_ptr(), d_out, d_in, count, torch.get_num_threads())
        return y


class LinearStruct(ctypes.Structure):
    """`struct linear` of block.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("product", "weight", "scale", "bias")),
        *((name, ctypes.c_long) for name in ("d_out", "d_in")),
    )


class BlockStruct(ctypes.Structure):
    """`struct block`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("gamma_1", "beta_1", "gamma_2", "beta_2")),
        *((name, LinearStruct) for name in ("c_attn", "attn_proj", "c_fc", "mlp_proj")),
        *(("heads", ctypes.c_long), ("eps", ctypes.c_float), ("tanh_gelu", ctypes.c_int)),
    )


class CacheStruct(ctypes.Structure):
    """`struct cache`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("keys", "values", "first")),
        *((name, ctypes.c_long) for name in ("oldest", "now", "length")),
    )


class CompiledBlock(nn.Module):
    """A block whose projections are CompiledLinear, for one new token of each text in one call of C.

    Everything in it is float32 but the matrices, and stays where it is.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.struct = self._struct()  # holds addresses; as it cannot be pickled, the module cannot be copied either

    def forward(
        self, x: Float[Tensor, "batch tokens d_model"], cache: Cache | None = None, record: Record | None = None
    ) -> Float[Tensor, "batch tokens d_model"]:
        """One layer of the residual stream."""
        if not isinstance(cache, KVCache) or x.shape[1] > 1 or len(x) > MANY_ROWS or record is not None:
            out: Tensor = self.block(x, cache, record)
            return out
        batch, _, d_model = x.shape
        struct, layer, length = self.struct, self.block.attn.layer, cache.keys.shape[3]
        keys, values = cache.keys[layer].data_ptr(), cache.values[layer].data_ptr()
        held = CacheStruct(keys, values, cache.first.data_ptr(), cache.oldest(), cache.start, length)
        numbers = batch * (5 * d_model + struct.c_fc.d_out) + struct.heads * length
        room = torch.empty(numbers, dtype=torch.float32)
        y = x.clone(memory_format=torch.contiguous_format)
        threads = torch.get_num_threads()
        library().block_step(
            ctypes.addressof(struct), ctypes.addressof(held), y.data_ptr(), room.data_ptr(), batch, threads
        )
        return y

    def _struct(self) -> BlockStruct:
        """The block as C sees it: where its tensors are now."""
        b, config = self.block, self.block.attn.config
        norms = (b.ln_1.weight, b.ln_1.bias, b.ln_2.weight, b.ln_2.bias)
        linears = [
            LinearStruct(ctypes.cast(f.product, ctypes.c_void_p).value, *f.addresses(), *f.weight.shape)
            for f in cast(list[CompiledLinear], [b.attn.c_attn, b.attn.c_proj, b.mlp.c_fc, b.mlp.c_proj])
        ]
        tanh_gelu = config.activation == "gelu_tanh"
        return BlockStruct(*(t.data_ptr() for t in norms), *linears, config.n_heads, config.norm_eps, tanh_gelu)
