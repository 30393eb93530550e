"""Smaller weights for generation: decoding one text reads every weight for every token, so bytes are time.

Only what is multiplied changes (and, compiled, what a block does with one token); the model stays the one of
gpt2.model. float16 and bfloat16 compute everything in that format, with matrices stored (out, in), the order in which a
product with one row reads them fastest. int8 rounds each row of a matrix to 127 steps of its largest element:

    w[o] ~ scale[o] q[o],   scale[o] = max |w[o]| / 127,   q = round(w / scale)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int8
from torch import Tensor, nn

from gpt2.compiled import CompiledBlock, CompiledLinear, stay
from gpt2.devices import resolve_dtype
from gpt2.model import GPT2, Block, Projection
from gpt2.settings import Weights

# From so many rows on it is faster to multiply int8 weights out once than to convert them in the product for each row.
MANY_ROWS = 32


def quantise(weight: Float[Tensor, "d_out d_in"]) -> tuple[Int8[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]:
    """The integers and the scale of each row; a row of zeros has scale 1.

    >>> quantise(torch.tensor([[0.5, -1.27], [0.0, 0.0]]))
    (tensor([[  50, -127],
            [   0,    0]], dtype=torch.int8), tensor([0.0100, 1.0000]))
    """
    largest = weight.abs().amax(1).float()
    scale = torch.where(largest > 0, largest / 127, 1.0)
    return (weight / scale[:, None]).round().to(torch.int8), scale


class Transposed(nn.Module):
    """A projection y = x W + b whose W is stored (d_out, d_in)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply it to the last axis."""
        return F.linear(x, self.weight, self.bias)


class Int8Linear(nn.Module):
    """y = scale (q x) + b. The rows of x are rounded to bfloat16; sums are float32."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Int8[Tensor, "d_out d_in"], scale: Float[Tensor, " d_out"], bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.register_buffer("ones", torch.ones_like(scale, dtype=torch.bfloat16), persistent=False)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply it to the last axis."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) >= MANY_ROWS or x.device.type != "cpu":
            y = rows @ self.weight.to(x.dtype).T
        else:  # the kernel would round the scales to bfloat16 too: here they stay what they are
            y = torch._weight_int8pack_mm(rows.bfloat16(), self.weight, cast(Tensor, self.ones)).to(x.dtype)
        y = y * self.scale if self.bias is None else torch.addcmul(self.bias, y, self.scale)
        return y.view(*x.shape[:-1], -1)


class SmallEmbedding(nn.Module):
    """Rows of a float16 or int8 matrix, made float32 when they are looked up. The head has the same matrix."""

    weight: Tensor
    scale: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens d_model"]:
        """The vectors of tokens."""
        vectors = self.weight[ids].float()
        return vectors if self.scale is None else vectors * self.scale[ids][..., None]


@torch.no_grad()
def compact(model: GPT2, weights: Weights, compiled: bool = False) -> GPT2:
    """A copy for generation and evaluation whose weights take 2 bytes (float16, bfloat16) or 1 (int8).

    `compiled`: decoding in C (gpt2.compiled), with activations in float32; on a CPU only. ValueError without
    a C compiler, or for bfloat16 on a CPU that cannot multiply in it.
    """
    if compiled and (weights == "bfloat16" or model.wte.weight.device.type != "cpu"):
        raise ValueError("compile: there are products in float32, float16 and int8, on a CPU")
    if weights == "float32" and not compiled:
        return model
    small = copy.deepcopy(model).requires_grad_(False).eval()
    if compiled:
        small = small.float()
    if not compiled and weights != "int8":
        small = small.to(resolve_dtype(weights, model.wte.weight.device))
        _replace(small, lambda weight, bias: Transposed(weight, cast(Tensor, bias)))
        return small

    def linear(weight: Tensor, bias: Tensor | None) -> Int8Linear | CompiledLinear:
        scale = None
        if weights == "int8":
            weight, scale = quantise(weight)
        elif weights == "float16":
            weight = weight.half()
        return CompiledLinear(weight, scale, bias) if compiled else Int8Linear(weight, cast(Tensor, scale), bias)

    _replace(small, linear)
    if compiled:
        small._apply = stay  # type: ignore[method-assign]
        small.h = nn.ModuleList(CompiledBlock(cast(Block, block)) for block in small.h)
    small.lm_head = head = linear(small.lm_head.weight, None)  # type: ignore[assignment]
    if weights != "float32":
        of_head = head if model.config.tied else linear(small.wte.weight, None)
        small.wte = SmallEmbedding(of_head.weight, of_head.scale)  # type: ignore[assignment]
    return small


def _replace(model: GPT2, linear: Callable[[Tensor, Tensor | None], nn.Module]) -> None:
    """Put `linear` of the weights, (out, in), and the bias of each projection in its place."""
    for block in cast(list[Block], list(model.h)):
        for part in (block.attn, block.mlp):
            projections = cast(dict[str, Projection], dict(part.named_children()))
            for name, projection in projections.items():
                setattr(part, name, linear(projection.weight.T.contiguous(), projection.bias))
