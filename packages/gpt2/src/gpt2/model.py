"""GPT-2: a decoder-only Transformer (Radford et al. 2019, section 2.3). The model, and nothing else.

What the paper changes against GPT-1: LayerNorm moves to the input of each sub-block, one more stands after
the last block, residual projections start smaller by 1/sqrt(number of residual layers), the context doubles
to 1024 and the vocabulary is 50,257 byte-level BPE tokens.

Shapes in the signatures: batch, tokens (of one text), vocab, d_model (width of the residual stream),
heads, d_k = d_model / heads. Parameters bear the names of OpenAI's checkpoint (wte, wpe, h.0.attn.c_attn, ...).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, overload, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt2.attention import causal, causal_mask, explicit, fused, sliding_window
from gpt2.loss import linear_cross_entropy

Record = dict[str, list[Tensor]]

SIZES = {  # Table 2 of the paper: (n_layers, d_model, n_heads); the names are those of OpenAI's repository
    "124M": (12, 768, 12),
    "350M": (24, 1024, 16),
    "774M": (36, 1280, 20),
    "1558M": (48, 1600, 25),
}


@dataclass(frozen=True)
class GPT2Config:
    """The shape of a model. The defaults are those of GPT-2 124M."""

    vocab_size: int = 50257
    context_length: int = 1024
    d_model: int = 768
    n_heads: int = 12
    n_layers: int = 12
    dropout: float = 0.1  # of embeddings, attention weights and the output of each sub-block
    d_ff: int | None = None  # inner width of the feed-forward part; 4 d_model if not given
    tied: bool = True  # the head is the token embedding
    activation: Literal["gelu_tanh", "gelu"] = "gelu_tanh"  # GPT-2's approximation; nanoGPT has the exact one
    norm_eps: float = 1e-5
    window: int | None = None  # attend to the last `window` tokens only (not in GPT-2)
    eos_id: int | None = None  # the token that ends a document

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "d_model", "n_heads", "n_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not a positive number")
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads: {self.n_heads} does not divide d_model, which is {self.d_model}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: {self.dropout} is not in [0, 1)")
        if self.activation not in ("gelu_tanh", "gelu"):
            raise ValueError(f"activation: {self.activation!r} is neither gelu_tanh nor gelu")
        for name in ("window", "d_ff"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}: {value} is not a positive number")

    @staticmethod
    def named(size: str, **changes: Any) -> GPT2Config:
        """One of the paper's four sizes; `changes` override single fields.

        >>> GPT2Config.named("1558M").d_model
        1600
        """
        if size not in SIZES:
            raise ValueError(f"size: {size!r} is not one of {', '.join(SIZES)}")
        n_layers, d_model, n_heads = SIZES[size]
        config = GPT2Config(n_layers=n_layers, d_model=d_model, n_heads=n_heads, eos_id=50256)
        return dataclasses.replace(config, **changes)


@runtime_checkable
class Cache(Protocol):
    """What generation keeps between calls (gpt2.cache): earlier keys and values, and where this call stands."""

    positions: Int[Tensor, "batch tokens"]
    mask: Bool[Tensor, "batch 1 tokens keys"] | None  # None: causal, with no other restriction

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of this call; return all that it may look at."""


class Projection(nn.Module):
    """y = x W + b with W stored (d_in, d_out), as OpenAI's checkpoints have it (they call it conv1d)."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_in, d_out))
        self.bias = nn.Parameter(torch.empty(d_out))

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply it to the last axis."""
        y = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return y.view(*x.shape[:-1], -1)


class MultiHeadAttention(nn.Module):
    """Masked self-attention: queries, keys and values of all heads from one product, heads side by side."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.c_attn = Projection(config.d_model, 3 * config.d_model)
        self.c_proj = Projection(config.d_model, config.d_model)

    def forward(
        self, x: Float[Tensor, "batch tokens d_model"], cache: Cache | None = None, record: Record | None = None
    ) -> Float[Tensor, "batch tokens d_model"]:
        """Attend; with a cache to what it holds too. A record gets the weights (batch, heads, queries, keys)."""
        config, mask = self.config, None
        dropout = config.dropout if self.training else 0.0
        # (batch, tokens, 3 d_model) -> three of (batch, heads, tokens, d_k)
        q, k, v = self.c_attn(x).unflatten(-1, (3, config.n_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            (k, v), mask = cache.extend(self.layer, k, v), cache.mask
        if record is not None:
            if mask is None:
                mask = causal_mask(q.shape[2], k.shape[2], config.window, x.device)[None, None]
            y, weights = explicit(q, k, v, mask, dropout)
            record["attn"].append(weights)
        elif cache is not None:
            y = fused(q, k, v, mask, dropout)
        elif config.window is not None:
            y = sliding_window(q, k, v, config.window, dropout)
        else:
            y = causal(q, k, v, dropout)
        # (batch, heads, tokens, d_k) -> (batch, tokens, d_model)
        y = self.c_proj(y.transpose(1, 2).flatten(2))
        return F.dropout(y, config.dropout, self.training)


class FeedForward(nn.Module):
    """GELU(x W_1 + b_1) W_2 + b_2; d_ff = 4 d_model."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        d_ff = config.d_ff or 4 * config.d_model
        self.c_fc = Projection(config.d_model, d_ff)
        self.c_proj = Projection(d_ff, config.d_model)

    def forward(self, x: Float[Tensor, "batch tokens d_model"]) -> Float[Tensor, "batch tokens d_model"]:
        """Each token on its own."""
        approximate = "tanh" if self.config.activation == "gelu_tanh" else "none"
        y = self.c_proj(F.gelu(self.c_fc(x), approximate=approximate))
        return F.dropout(y, self.config.dropout, self.training)


class Block(nn.Module):
    """Pre-norm: x + Attention(LayerNorm(x)), then x + FeedForward(LayerNorm(x))."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.attn = MultiHeadAttention(config, layer)
        self.ln_2 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.mlp = FeedForward(config)

    def forward(
        self, x: Float[Tensor, "batch tokens d_model"], cache: Cache | None = None, record: Record | None = None
    ) -> Float[Tensor, "batch tokens d_model"]:
        """One layer of the residual stream."""
        x = x + self.attn(self.ln_1(x), cache, record)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class GPT2(nn.Module):
    """The language model: token and position embeddings, blocks, a last LayerNorm, the head.

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
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = self.wte.weight
        self.gradient_checkpointing = False  # recompute each block in the backward pass: less memory, a third more time
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, 0.02); the projections that write to the residual stream by 1/sqrt(2 n_layers) less (section 2.3)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                residual = name.endswith("c_proj.weight")
                parameter.normal_(0.0, 0.02 / math.sqrt(2 * self.config.n_layers) if residual else 0.02)
            elif name.endswith("bias"):
                parameter.zero_()

    def hidden(
        self, ids: Int[Tensor, "batch tokens"], cache: Cache | None = None, record: Record | None = None
    ) -> Float[Tensor, "batch tokens d_model"]:
        """The residual stream after the last LayerNorm. ValueError for more tokens than the context holds."""
        tokens = ids.shape[1]
        if tokens > self.config.context_length:
            raise ValueError(f"ids: {tokens} tokens, but context_length is {self.config.context_length}")
        position = self.wpe.weight[:tokens] if cache is None else self.wpe(cache.positions)
        x = F.dropout(self.wte(ids) + position, self.config.dropout, self.training)
        for block in self.h:
            if record is not None:
                record["resid"].append(x)
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, cache, record, use_reentrant=False)
            else:
                x = block(x, cache, record)
        if record is not None:
            record["resid"].append(x)
        out: Tensor = self.ln_f(x)
        return out

    @overload
    def forward(self, ids: Tensor, *, return_intermediates: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, ids: Tensor, *, return_intermediates: Literal[True]) -> tuple[Tensor, dict[str, Tensor]]: ...

    def forward(
        self, ids: Int[Tensor, "batch tokens"], *, return_intermediates: bool = False
    ) -> Float[Tensor, "batch tokens vocab"] | tuple[Float[Tensor, "batch tokens vocab"], dict[str, Tensor]]:
        """The logits of the next token at every position.

        With `return_intermediates` also `attn` (layers, batch, heads, queries, keys) and `resid`
        (layers + 1, batch, tokens, d_model): the residual stream before the first block and after each.
        """
        record: Record | None = {"attn": [], "resid": []} if return_intermediates else None
        logits: Tensor = self.lm_head(self.hidden(ids, None, record))
        return logits if record is None else (logits, {name: torch.stack(found) for name, found in record.items()})

    def loss(
        self,
        ids: Int[Tensor, "batch tokens"],
        targets: Int[Tensor, "batch tokens"],
        ignore_index: int = -100,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> Float[Tensor, ""]:
        """Cross-entropy in nats of `targets`, the tokens that follow `ids`; never holds all logits (gpt2.loss)."""
        x = self.hidden(ids).flatten(0, 1)
        total = linear_cross_entropy(x, self.lm_head.weight, targets.flatten(), ignore_index)
        return total if reduction == "sum" else total / (targets != ignore_index).sum()

    @torch.no_grad()
    def logit_lens(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """What the head would say to an intermediate residual stream (`resid` of `return_intermediates`)."""
        logits: Tensor = self.lm_head(self.ln_f(resid))
        return logits

    def parameter_count(self) -> int:
        """Trained numbers; a tied head counts once.

        >>> with torch.device("meta"): GPT2(GPT2Config.named("124M")).parameter_count()
        124439808
        """
        return sum(p.numel() for p in self.parameters())

    def generate(
        self, ids: Int[Tensor, "batch tokens"] | Sequence[Sequence[int]], max_new_tokens: int, **options: Any
    ) -> Any:
        """Continue texts; the options and what is returned are those of `gpt2.generation.generate`."""
        from gpt2.generation import generate

        return generate(self, ids, max_new_tokens, **options)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> GPT2:
        """A model from a Hugging Face folder or a nanoGPT/minGPT `.pt` file; see `gpt2.pretrained.load`."""
        from gpt2.pretrained import load

        return load(path, **options)

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write a folder that `transformers.GPT2LMHeadModel.from_pretrained` loads; see `gpt2.pretrained.save`."""
        from gpt2.pretrained import save

        save(self, folder, **options)
