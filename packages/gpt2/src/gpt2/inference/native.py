"""Decoding in C, compiled by the machine's compiler: nearly as fast as the weights can be read.

PyTorch's kernels are made for many rows. With the single row of decoding, its float16 and int8 matmuls reach about half
of the memory bandwidth (results/decode-1-1.json). matmul.c has faster ones. block.c combines them into the step of one
new token through a block. Activations and sums are float32, except for int8 weights: 16-bit and 32-bit integers.
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

from gpt2._common.errors import invalid
from gpt2.inference.cache import KVCache
from gpt2.model import Block, Cache, Intermediates

SOURCES = [str(Path(__file__).with_name(name)) for name in ("matmul.c", "block.c")]
# the first flags that the compiler accepts: all instructions of this CPU and threads, then without threads, then plain
FLAGS: tuple[list[str], ...] = (["-march=native", "-fopenmp"], ["-march=native"], ["-mcpu=native"], [])
NAMES = {torch.float32: "matmul_float", torch.float16: "matmul_half", torch.int8: "matmul_int8"}
MANY_ROWS = 32  # above this many rows, PyTorch's float32 matmul is faster


@cache
def library() -> ctypes.CDLL:
    """Return matmul.c and block.c, compiled once per process (a few seconds). Raises: ValueError without a compiler."""
    named = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if named is None or os.name != "posix":
        raise ValueError("`compile` needs a C compiler (cc, or the one that CC names) on Linux or macOS")
    compiler, message = shlex.split(named), ""
    with tempfile.TemporaryDirectory() as folder:
        for flags in FLAGS:
            # linked in a separate step: with -ffast-math, a compiler links code that flushes denormal numbers to zero
            # in the whole process, PyTorch's included
            done = _run([*compiler, "-O3", "-ffast-math", "-fPIC", *flags, "-c", *SOURCES], folder)
            if done.returncode == 0:
                objects = [Path(source).with_suffix(".o").name for source in SOURCES]
                done = _run([*compiler, "-shared", *flags, "-o", "decoding.so", *objects, "-lm"], folder)
            if done.returncode == 0:
                return _declare(ctypes.CDLL(str(Path(folder) / "decoding.so")))  # stays mapped after the file is gone
            message = next((line for line in done.stderr.splitlines() if "error" in line), f"status {done.returncode}")
    raise ValueError(f"`compile` failed: {named} cannot compile the C sources ({message})")


def _run(command: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ValueError(f"`compile` failed: {command[0]} does not start ({error})") from None


def _declare(loaded: ctypes.CDLL) -> ctypes.CDLL:
    """Set the argument types of the library's functions."""
    for name in NAMES.values():
        getattr(loaded, name).argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_long] * 3 + [ctypes.c_int]
        getattr(loaded, name).restype = ctypes.c_int
    loaded.block_step.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_long, ctypes.c_int]
    loaded.block_step.restype = ctypes.c_int
    return loaded


def refuse_move(*_: Any, **__: Any) -> None:
    """Refuse `.to()` and dtype casts, because C code holds the addresses of the tensors."""
    raise RuntimeError("native modules cannot be moved or cast: C code holds the addresses of their tensors")


class NativeLinear(nn.Module):
    """y = scale (W x) + b with W stored (d_out, d_in) in float32, float16, or int8. For generation: no gradient."""

    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.matmul: Any = getattr(library(), NAMES[weight.dtype])
        self.register_buffer("weight", weight.detach().contiguous())
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().float().contiguous())
        self._apply = refuse_move  # type: ignore[method-assign]

    def addresses(self) -> tuple[int | None, ...]:
        """Return the addresses of weight, scale, and bias."""
        return tuple(None if t is None else t.data_ptr() for t in (self.weight, self.scale, self.bias))

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply the projection to the last axis."""
        d_out, d_in = self.weight.shape
        count = x.numel() // d_in
        if count > MANY_ROWS:
            y = F.linear(x, self.weight.to(x.dtype))
            y = y if self.scale is None else y * self.scale
            return y if self.bias is None else y + self.bias
        x = x.float().contiguous()
        y = torch.empty(*x.shape[:-1], d_out, dtype=torch.float32)
        threads = torch.get_num_threads()
        _check_status(self.matmul(*self.addresses(), x.data_ptr(), y.data_ptr(), d_out, d_in, count, threads))
        return y


def _check_status(status: int) -> None:
    if status:
        raise MemoryError("out of memory in native decoding")


class LinearStruct(ctypes.Structure):
    """`struct linear` of block.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("matmul", "weight", "scale", "bias")),
        *((name, ctypes.c_long) for name in ("d_out", "d_in")),
    )


class BlockStruct(ctypes.Structure):
    """`struct block` of block.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("gamma_1", "beta_1", "gamma_2", "beta_2")),
        *((name, LinearStruct) for name in ("c_attn", "attn_proj", "c_fc", "mlp_proj")),
        *(("heads", ctypes.c_long), ("eps", ctypes.c_float), ("tanh_gelu", ctypes.c_int)),
    )


class CacheStruct(ctypes.Structure):
    """`struct cache` of block.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("keys", "values", "padding")),
        *((name, ctypes.c_long) for name in ("oldest", "now", "length")),
    )


class NativeBlock(nn.Module):
    """A block whose projections are NativeLinear. One call of C processes one new token of each text.

    All its tensors except the matrices are float32, and stay at their addresses.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.struct = self._struct()  # holds addresses; it cannot be pickled, so the module cannot be copied either
        self._apply = refuse_move  # type: ignore[method-assign]

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        cache: Cache | None = None,
        intermediates: Intermediates | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Add the outputs of attention and feed-forward to the residual stream."""
        single = isinstance(cache, KVCache) and x.shape[1] == 1 and len(x) <= MANY_ROWS and intermediates is None
        if not single:
            out: Tensor = self.block(x, cache, intermediates)
            return out
        assert isinstance(cache, KVCache)
        batch, _, d_model = x.shape
        struct, layer, length = self.struct, self.block.attn.layer, cache.keys.shape[3]
        self._check(cache, batch)
        keys, values = cache.keys[layer].data_ptr(), cache.values[layer].data_ptr()
        columns = CacheStruct(keys, values, cache.padding.data_ptr(), cache.oldest(), cache.start, length)
        scratch = torch.empty(batch * (5 * d_model + struct.c_fc.d_out) + struct.heads * length, dtype=torch.float32)
        y = x.float().clone(memory_format=torch.contiguous_format)
        threads = torch.get_num_threads()
        addresses = (ctypes.addressof(struct), ctypes.addressof(columns), y.data_ptr(), scratch.data_ptr())
        _check_status(library().block_step(*addresses, batch, threads))
        return y

    def _check(self, cache: KVCache, batch: int) -> None:
        """Raise ValueError for a cache that C code would read wrongly."""
        config = self.block.attn.config
        rows, heads, _, d_k = cache.keys.shape[1:]
        if cache.keys.dtype != torch.float32 or cache.keys.device.type != "cpu":
            raise invalid(
                "cache", "be float32 on a CPU for native decoding", f"{cache.keys.dtype}, {cache.keys.device}"
            )
        if (rows, heads, heads * d_k) != (batch, config.n_heads, config.d_model):
            raise invalid("cache", f"have the shape of {batch} texts of this model", tuple(cache.keys.shape))

    def _struct(self) -> BlockStruct:
        """Return the block as C code reads it: the current addresses of its tensors."""
        b, config = self.block, self.block.attn.config
        norms = (b.ln_1.weight, b.ln_1.bias, b.ln_2.weight, b.ln_2.bias)
        linears = [
            LinearStruct(ctypes.cast(f.matmul, ctypes.c_void_p).value, *f.addresses(), *f.weight.shape)
            for f in cast(list[NativeLinear], [b.attn.c_attn, b.attn.c_proj, b.mlp.c_fc, b.mlp.c_proj])
        ]
        tanh_gelu = config.activation == "gelu_tanh"
        return BlockStruct(*(t.data_ptr() for t in norms), *linears, config.n_heads, config.layer_norm_eps, tanh_gelu)
