"""GPT-2: a decoder-only Transformer (Radford et al. 2019, section 2.3). The model, and nothing else.

Sub-modules and parameters have the names of OpenAI's checkpoint (wte, wpe, h.0.attn.c_attn, ...), for exchange.
Changes against GPT-1: LayerNorm moves to the input of each sub-block, one more follows the last block, residual
projections are initialized smaller by 1/sqrt(number of residual layers), the context doubles to 1024 tokens, and the
vocabulary has 50,257 byte-level BPE tokens.

Axes in the signatures: batch, time (tokens of one text), vocab, d_model (width of the residual stream), heads,
d_k = d_model / heads, queries and keys inside attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, overload, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt2._common.errors import invalid
from gpt2.attention import causal, causal_mask, explicit, fused, sliding_window
from gpt2.config import GPT2Config, Overflow
from gpt2.loss import linear_cross_entropy

if TYPE_CHECKING:
    from gpt2.inference.generate import Generated
    from gpt2.inference.sampling import Generators

Intermediates = dict[str, list[Tensor]]


@runtime_checkable
class Cache(Protocol):
    """Keys and values of earlier tokens (gpt2.inference.cache) and the positions of the new ones."""

    positions: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch 1 time keys"] | None  # None: causal, with no other restriction

    def advance(self, time: int) -> None:
        """Reserve the next `time` columns and set `positions` and `mask` for them."""

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values of the new tokens; return those of all tokens that may be attended to."""


class Projection(nn.Module):
    """y = x W + b with W of shape (d_in, d_out), as in OpenAI's checkpoints, where it is called conv1d."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_in, d_out))
        self.bias = nn.Parameter(torch.empty(d_out))

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply the projection to the last axis."""
        y = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return y.view(*x.shape[:-1], -1)


class MultiHeadAttention(nn.Module):
    """Masked self-attention. One matmul makes the queries, keys, and values of all heads, head by head."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.c_attn = Projection(config.d_model, 3 * config.d_model)
        self.c_proj = Projection(config.d_model, config.d_model)

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        cache: Cache | None = None,
        intermediates: Intermediates | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Attend to `x`, and with a cache to earlier tokens. Appends the weights to `intermediates["attn"]`."""
        config, mask = self.config, None
        dropout = config.dropout if self.training else 0.0
        # (batch, time, 3 d_model) -> three of (batch, heads, time, d_k)
        q, k, v = self.c_attn(x).unflatten(-1, (3, config.n_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            (k, v), mask = cache.append(self.layer, k, v), cache.mask
        if intermediates is not None:
            if mask is None:
                mask = causal_mask(q.shape[2], k.shape[2], config.window, x.device)[None, None]
            y, weights = explicit(q, k, v, mask, dropout)
            intermediates["attn"].append(weights)
        elif cache is not None:
            y = fused(q, k, v, mask, dropout)
        elif config.window is not None:
            y = sliding_window(q, k, v, config.window, dropout)
        else:
            y = causal(q, k, v, dropout)
        # (batch, heads, time, d_k) -> (batch, time, d_model)
        y = self.c_proj(y.transpose(1, 2).flatten(2))
        return F.dropout(y, config.dropout, self.training)


class FeedForward(nn.Module):
    """GELU(x W_1 + b_1) W_2 + b_2 with inner width d_ff = 4 d_model."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        d_ff = config.d_ff or 4 * config.d_model
        self.c_fc = Projection(config.d_model, d_ff)
        self.c_proj = Projection(d_ff, config.d_model)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Transform each token on its own."""
        approximate = "tanh" if self.config.activation == "gelu_tanh" else "none"
        y = self.c_proj(F.gelu(self.c_fc(x), approximate=approximate))
        return F.dropout(y, self.config.dropout, self.training)


class Block(nn.Module):
    """Pre-norm block: x + Attention(LayerNorm(x)), then x + FeedForward(LayerNorm(x))."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.attn = MultiHeadAttention(config, layer)
        self.ln_2 = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.mlp = FeedForward(config)

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        cache: Cache | None = None,
        intermediates: Intermediates | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Add the outputs of attention and feed-forward to the residual stream."""
        x = x + self.attn(self.ln_1(x), cache, intermediates)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class GPT2(nn.Module):
    """Language model: token and position embeddings, blocks, a final LayerNorm, and the output head.

    >>> model = GPT2(GPT2Config(vocab_size=257, context_length=64, d_model=32, n_heads=2, n_layers=2))
    >>> model(torch.tensor([[72, 101]])).shape
    torch.Size([1, 2, 257])
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.wpe = nn.Embedding(config.context_length, config.d_model)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.wte.weight
        self.activation_checkpointing = False  # recompute each block in the backward pass
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialize with N(0, 0.02); residual projections are divided by sqrt(2 n_layers) (section 2.3)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                residual = name.endswith("c_proj.weight")
                parameter.normal_(0.0, 0.02 / math.sqrt(2 * self.config.n_layers) if residual else 0.02)
            elif name.endswith("bias"):
                parameter.zero_()

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.wte.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the activations outside autocast."""
        return self.ln_f.weight.dtype

    def hidden(
        self,
        ids: Int[Tensor, "batch time"],
        cache: Cache | None = None,
        intermediates: Intermediates | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Return the residual stream after the final LayerNorm. With a cache, `ids` continue the cached tokens.

        Raises: ValueError for more tokens than `context_length`.
        """
        time = ids.shape[1]
        if time > self.config.context_length:
            raise invalid("ids", f"have at most `context_length` = {self.config.context_length} tokens", time)
        if cache is not None:
            cache.advance(time)
            if len(cache.positions) != len(ids):
                raise invalid("cache", f"have the batch size of `ids`, {len(ids)}", len(cache.positions))
        position = self.wpe.weight[:time] if cache is None else self.wpe(cache.positions)
        x = F.dropout(self.wte(ids) + position, self.config.dropout, self.training)
        for block in self.h:
            if intermediates is not None:
                intermediates["resid"].append(x)
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, cache, intermediates, use_reentrant=False)
            else:
                x = block(x, cache, intermediates)
        if intermediates is not None:
            intermediates["resid"].append(x)
        out: Tensor = self.ln_f(x)
        return out

    @overload
    def forward(self, ids: Tensor, *, return_intermediates: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, ids: Tensor, *, return_intermediates: Literal[True]) -> tuple[Tensor, dict[str, Tensor]]: ...

    def forward(
        self, ids: Int[Tensor, "batch time"], *, return_intermediates: bool = False
    ) -> Float[Tensor, "batch time vocab"] | tuple[Float[Tensor, "batch time vocab"], dict[str, Tensor]]:
        """Return the logits of the next token at every position.

        With `return_intermediates` also `attn` (layers, batch, heads, queries, keys) and `resid`
        (layers + 1, batch, time, d_model): the residual stream before the first block and after each.
        """
        intermediates: Intermediates | None = {"attn": [], "resid": []} if return_intermediates else None
        logits: Tensor = self.lm_head(self.hidden(ids, None, intermediates))
        if intermediates is None:
            return logits
        return logits, {name: torch.stack(tensors) for name, tensors in intermediates.items()}

    def loss(
        self,
        ids: Int[Tensor, "batch time"],
        targets: Int[Tensor, "batch time"],
        ignore_index: int = -100,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy in nats of `targets`, the tokens after `ids`, without storing all logits."""
        x = self.hidden(ids).flatten(0, 1)
        total = linear_cross_entropy(x, self.lm_head.weight, targets.flatten(), ignore_index)
        return total if reduction == "sum" else total / (targets != ignore_index).sum()

    @torch.no_grad()
    def logit_lens(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Return the logits that the head computes from an intermediate residual stream (`resid` of `forward`)."""
        logits: Tensor = self.lm_head(self.ln_f(resid))
        return logits

    def num_parameters(self) -> int:
        """Return the number of trainable scalars; a tied head counts once.

        >>> with torch.device("meta"): GPT2(GPT2Config.named("124M")).num_parameters()
        124439808
        """
        return sum(p.numel() for p in self.parameters())

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
        use_cache: bool = True,
        return_logprobs: bool = False,
    ) -> Generated:
        """Continue texts by up to `max_new_tokens` tokens; see `gpt2.inference.generate.generate`."""
        from gpt2.inference.generate import generate

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
            use_cache=use_cache,
            return_logprobs=return_logprobs,
        )

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        n_heads: int | None = None,
        dropout: float | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> GPT2:
        """Load a Hugging Face folder or a nanoGPT/minGPT `.pt` file; see `gpt2.pretrained.weights.load`."""
        from gpt2.pretrained.weights import load

        return load(path, n_heads=n_heads, dropout=dropout, dtype=dtype)

    def save_pretrained(
        self, folder: str | Path, *, shard_bytes: int | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Write a folder that `transformers.GPT2LMHeadModel` loads; see `gpt2.pretrained.weights.save`."""
        from gpt2.pretrained.weights import save

        save(self, folder, shard_bytes=shard_bytes, dtype=dtype)
