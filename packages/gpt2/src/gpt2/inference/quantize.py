"""Smaller weights for generation: decoding one text is memory-bandwidth bound, so smaller weights are faster.

float16 and bfloat16 compute everything in that dtype, with matrices stored (out, in), the layout that a matmul with one
row reads fastest. int8 rounds each row of a matrix to 127 steps of its largest element:

    w[o] ~ scale[o] q[o],   scale[o] = max |w[o]| / 127,   q = round(w / scale)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int8
from torch import Tensor, nn

from gpt2._common.device import pick_dtype
from gpt2._common.errors import check_choice, invalid
from gpt2.config import GPT2Config, Overflow, Weights
from gpt2.inference.cache import KVCache
from gpt2.inference.generate import Generated, generate
from gpt2.inference.native import NativeBlock, NativeLinear, refuse_move
from gpt2.inference.sampling import Generators
from gpt2.model import GPT2, Block, Projection

# From this many rows it is faster to dequantize int8 weights once than to convert them in the matmul for each row.
MANY_ROWS = 32


def quantize(weight: Float[Tensor, "d_out d_in"]) -> tuple[Int8[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]:
    """Return the integers and the scale of each row; a row of zeros has scale 1.

    >>> quantize(torch.tensor([[0.5, -1.27], [0.0, 0.0]]))
    (tensor([[  50, -127],
            [   0,    0]], dtype=torch.int8), tensor([0.0100, 1.0000]))

    Raises: ValueError if a weight is NaN or infinite.
    """
    largest = weight.abs().amax(1).float()
    if not bool(largest.isfinite().all()):
        raise ValueError("the model has NaN or infinite weights, which cannot be quantized")
    scale = torch.where(largest > 0, largest / 127, 1.0)
    return (weight / scale[:, None]).round().to(torch.int8), scale


def check_finite(tensors: Mapping[str, Tensor], dtype: str) -> None:
    """Raise ValueError if a weight is NaN or infinite, as weights beyond 65,504 are in float16."""
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} has NaN or infinite weights in {dtype}. Use float32")


class TransposedLinear(nn.Module):
    """A projection y = x W + b whose W is stored (d_out, d_in)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply the projection to the last axis."""
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
        """Apply the projection to the last axis."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) >= MANY_ROWS or x.device.type != "cpu":
            y = rows @ self.weight.to(x.dtype).T
        else:  # the kernel would round the scales to bfloat16, so it gets ones, and the scales are applied afterwards
            y = torch._weight_int8pack_mm(rows.bfloat16(), self.weight, cast(Tensor, self.ones)).to(x.dtype)
        y = y * self.scale if self.bias is None else torch.addcmul(self.bias, y, self.scale)
        return y.view(*x.shape[:-1], -1)


class SmallEmbedding(nn.Module):
    """Rows of a float16 or int8 matrix, converted to float32 at lookup. The head has the same matrix."""

    weight: Tensor
    scale: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    def forward(self, ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d_model"]:
        """Return the vectors of tokens."""
        vectors = self.weight[ids].float()
        return vectors if self.scale is None else vectors * self.scale[ids][..., None]


class Decoder:
    """A model for generation and evaluation with weights of 4 bytes (float32), 2 (float16, bfloat16), or 1 (int8).

    It has its own copy of the weights, and no method to train, save, move, or cast them.

    compiled: decode with C code (gpt2.inference.native) and float32 activations; on a CPU only.
    Raises: ValueError without a C compiler, for bfloat16 on a CPU that cannot compute it, and for weights that are NaN
    or infinite where they are quantized.
    """

    training = False

    @torch.no_grad()
    def __init__(self, model: GPT2, weights: Weights = "float32", *, compiled: bool = False) -> None:
        check_choice("weights", weights, get_args(Weights))
        if compiled and (weights == "bfloat16" or model.device.type != "cpu"):
            raise invalid(
                "compile", "be used with float32, float16, or int8 weights on a CPU", f"{weights}, {model.device}"
            )
        self.config: GPT2Config = model.config
        self.weights, self.compiled = weights, compiled
        small = copy.deepcopy(model).requires_grad_(False).eval()
        if compiled or weights in ("float32", "int8"):
            small = small.float()  # whatever the dtype of the model is
        else:
            small = small.to(pick_dtype(weights, model.device))
            check_finite(small.state_dict(), weights)
        self._model = small
        if compiled or weights == "int8":
            self._replace_all(small)
        elif weights != "float32":
            _replace(small, lambda weight, bias: TransposedLinear(weight, cast(Tensor, bias)))

    def _replace_all(self, small: GPT2) -> None:
        def linear(weight: Tensor, bias: Tensor | None) -> Int8Linear | NativeLinear:
            scale = None
            if self.weights == "int8":
                weight, scale = quantize(weight)
            elif self.weights == "float16":
                weight = weight.half()
                check_finite({"weight": weight}, "float16")
            return NativeLinear(weight, scale, bias) if self.compiled else Int8Linear(weight, cast(Tensor, scale), bias)

        _replace(small, linear)
        if self.compiled:
            small._apply = refuse_move  # type: ignore[method-assign]
            small.h = nn.ModuleList(NativeBlock(cast(Block, block)) for block in small.h)
        small.lm_head = head = linear(small.lm_head.weight, None)  # type: ignore[assignment]
        if self.weights != "float32":
            of_head = head if self.config.tie_embeddings else linear(small.wte.weight, None)
            small.wte = SmallEmbedding(of_head.weight, of_head.scale)  # type: ignore[assignment]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self._model.ln_f.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the activations, and of keys and values."""
        return self._model.ln_f.weight.dtype

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        tensors = [*self._model.parameters(), *self._model.buffers()]
        return sum({t.data_ptr(): t.nbytes for t in tensors}.values())

    @torch.no_grad()
    def hidden(
        self, ids: Int[Tensor, "batch time"], cache: KVCache | None = None
    ) -> Float[Tensor, "batch time d_model"]:
        """Return the residual stream after the final LayerNorm."""
        return self._model.hidden(ids, cache)

    @torch.no_grad()
    def lm_head(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Return the logits of hidden states."""
        logits: Tensor = self._model.lm_head(x)
        return logits

    def __call__(self, ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocab"]:
        """Return the logits of the next token at every position."""
        return self.lm_head(self.hidden(ids))

    def train(self, mode: bool = True) -> None:
        """Refuse training mode; a decoder is always in evaluation mode."""
        if mode:
            raise ValueError("a Decoder cannot be trained. Train the GPT2 that it was made from")

    def generate(
        self,
        ids: Int[Tensor, "batch time"] | Sequence[Sequence[int]],
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        stop_tokens: Sequence[int] = (),
        generator: Generators = None,
        overflow: Overflow = "context_shift",
        return_logprobs: bool = False,
    ) -> Generated:
        """Continue texts by up to `max_new_tokens` tokens; see `gpt2.inference.generate.generate`."""
        return generate(
            self,
            ids,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            stop_tokens=stop_tokens,
            generator=generator,
            overflow=overflow,
            return_logprobs=return_logprobs,
        )

    def __reduce__(self) -> Any:
        raise TypeError("a Decoder cannot be copied or pickled. Save the GPT2 that it was made from")


def _replace(model: GPT2, linear: Callable[[Tensor, Tensor | None], nn.Module]) -> None:
    """Replace each projection of the blocks by `linear` of its weight, (out, in), and its bias."""
    for block in cast(list[Block], list(model.h)):
        for part in (block.attn, block.mlp):
            projections = cast(dict[str, Projection], dict(part.named_children()))
            for name, projection in projections.items():
                setattr(part, name, linear(projection.weight.T.contiguous(), projection.bias))
