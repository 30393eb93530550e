"""Smaller weights for generation: decoding one text reads every weight for every token, so bytes are time.

Only what is multiplied changes; the model stays the one of gpt2.model. float16 and bfloat16 compute everything in that
format, with matrices stored (out, in), the order in which a product with one row reads them fastest. int8 rounds each
row of a matrix to 127 steps of its largest element:

    w[o] ~ scale[o] q[o],   scale[o] = max |w[o]| / 127,   q = round(w / scale)
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int8
from torch import Tensor, nn

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

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.weight = nn.Parameter(projection.weight.T.contiguous())
        self.bias = projection.bias

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


class Int8Embedding(nn.Module):
    """Rows of an int8 matrix, multiplied out when they are looked up. The head has the same matrix."""

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Int8[Tensor, "vocab d_model"], scale: Float[Tensor, " vocab"]) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens d_model"]:
        """The vectors of tokens."""
        return self.weight[ids].to(self.scale.dtype) * self.scale[ids][..., None]


@torch.no_grad()
def compact(model: GPT2, weights: Weights) -> GPT2:
    """A copy for generation and evaluation whose weights take 2 bytes (float16, bfloat16) or 1 (int8).

    With float32 the model itself. ValueError for bfloat16 on a CPU that cannot multiply in it.
    """
    if weights == "float32":
        return model
    if weights != "int8":
        resolve_dtype(weights, model.wte.weight.device)
    small = copy.deepcopy(model).requires_grad_(False).eval()
    if weights != "int8":
        small = small.to(getattr(torch, weights))
    for block in cast(list[Block], list(small.h)):
        for part in (block.attn, block.mlp):
            projections = cast(dict[str, Projection], dict(part.named_children()))
            for name, projection in projections.items():
                new = Transposed(projection) if weights != "int8" else _int8(projection.weight.T, projection.bias)
                setattr(part, name, new.requires_grad_(False))
    if weights == "int8":
        small.lm_head = _int8(small.lm_head.weight, None)  # type: ignore[assignment]
        of_head = small.lm_head if model.config.tied else _int8(small.wte.weight, None)
        small.wte = Int8Embedding(of_head.weight, of_head.scale)  # type: ignore[assignment,arg-type]
    return small


def _int8(weight: Tensor, bias: Tensor | None) -> Int8Linear:
    return Int8Linear(*quantise(weight.contiguous()), bias)
