"""The GPT: token and position embeddings, blocks, a final norm, logits.

Names: the constructor follows the lecture (h, n_vocab); the parameters are this package's (self_attn, ffn, norm1).
Axes in the shapes: batch, time (tokens of a window), d_model (width of the residual stream), vocab.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal, NamedTuple, cast, overload

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lets_build_gpt._common.errors import invalid
from lets_build_gpt.cache import KVCache
from lets_build_gpt.config import ModelConfig
from lets_build_gpt.layers import Block
from lets_build_gpt.modern import RotaryEmbedding, make_norm, soft_cap

BLOCK_OPTIONS = (
    "d_ff", "attention", "residual", "norm_type", "qk_norm", "value_embeddings", "x0_skip",
)  # fmt: skip


class Intermediates(NamedTuple):
    """What a model computed on the way to its logits.

    attn: attention weights (layers, batch, heads, queries, keys). resid: the residual stream before each block and
    after the last one (layers + 1, batch, time, d_model).
    """

    attn: Tensor
    resid: Tensor


class Model(nn.Module):
    """A GPT.

    h: attention heads per block. n_vocab: number of distinct tokens. The other arguments, also those in `parts`: see
    ModelConfig. `positions="rope", norm_type="rms", activation="swiglu", bias=False` is the model of Llama.
    Initialized as GPT-2: weights from N(0, 0.02), those that write to the residual stream (`projection`, `proj_down`)
    scaled by 1 / sqrt(2 n_layers), so that its variance does not grow with depth; biases zero.
    Raises: ValueError for sizes that do not fit together, for input longer than `context_length`, and for ids outside
    the vocabulary.

    >>> model = Model(context_length=64, d_model=32, h=4, n_layers=2, n_vocab=65)
    >>> model(torch.zeros(4, 8, dtype=torch.long)).shape
    torch.Size([4, 8, 65])
    """

    def __init__(
        self,
        context_length: int = 8,
        d_model: int = 384,
        h: int = 6,
        n_layers: int = 6,
        n_vocab: int = 65,
        dropout: float = 0.2,
        activation: Literal["relu", "gelu", "swiglu"] = "relu",
        bias: bool = True,
        tie_embeddings: bool = False,
        attention_dropout: float | None = None,
        *,
        d_ff: int | None = None,
        attention: Literal["softmax", "mean"] = "softmax",
        residual: bool = True,
        norm_type: Literal["layer", "rms", "none"] = "layer",
        positions: Literal["learned", "rope"] = "learned",
        qk_norm: bool = False,
        value_embeddings: bool = False,
        x0_skip: bool = False,
        zero_init: bool = False,
        logit_cap: float | None = None,
    ) -> None:
        super().__init__()
        config = self.config = ModelConfig(
            context_length, d_model, h, n_layers, n_vocab, dropout, attention_dropout, activation, bias, tie_embeddings,
            d_ff, attention, residual, norm_type, positions, qk_norm, value_embeddings, x0_skip, zero_init, logit_cap,
        )  # fmt: skip
        self.token_embedding = nn.Embedding(n_vocab, d_model)
        self.position_embedding: nn.Embedding | None = None
        rope = None
        if config.positions == "rope":
            rope = RotaryEmbedding(d_model // h, context_length)
        else:
            self.position_embedding = nn.Embedding(context_length, d_model)
        self.value_embeddings: nn.ModuleList | None = None
        if config.value_embeddings:
            self.value_embeddings = nn.ModuleList(nn.Embedding(n_vocab, d_model) for _ in range(n_layers))
        options = {name: getattr(config, name) for name in BLOCK_OPTIONS}
        self.blocks = nn.ModuleList(
            Block(d_model, h, dropout, activation, bias, attention_dropout, rope=rope, **options)
            for _ in range(n_layers)
        )
        self.norm = make_norm(config.norm_type, d_model, bias)
        self.head = nn.Linear(d_model, n_vocab, bias=bias)
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                writes_to_residual = name.endswith(("projection.weight", "proj_down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * n_layers) if writes_to_residual else 0.02)
                if config.zero_init and writes_to_residual:
                    nn.init.zeros_(parameter)
        if tie_embeddings:
            self.head.weight = self.token_embedding.weight

    @overload
    def forward(
        self, ids: Tensor, *, cache: KVCache | None = ..., return_intermediates: Literal[False] = ...
    ) -> Tensor: ...

    @overload
    def forward(
        self, ids: Tensor, *, cache: KVCache | None = ..., return_intermediates: Literal[True]
    ) -> tuple[Tensor, Intermediates]: ...

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        cache: KVCache | None = None,
        return_intermediates: bool = False,
    ) -> Float[Tensor, "batch time vocab"] | tuple[Float[Tensor, "batch time vocab"], Intermediates]:
        """Return the logits of the next token at every position.

        cache: its tokens precede `ids`. return_intermediates: also return the attention weights and the residual
        stream, as `(logits, Intermediates)`.
        """
        x = self._embed(ids, start=0 if cache is None else cache.length)
        weights: list[Tensor] | None = [] if return_intermediates else None
        x0, resid = x, [x]
        for number, block in enumerate(self.blocks):
            value = None if self.value_embeddings is None else self.value_embeddings[number](ids)
            x = block(x, cache, weights, x0=x0, value=value)
            resid.append(x)
        if cache is not None:
            cache.length += ids.shape[1]
        logits = self.head(self.norm(x))
        if self.config.logit_cap is not None:
            logits = soft_cap(logits, self.config.logit_cap)
        return logits if weights is None else (logits, Intermediates(torch.stack(weights), torch.stack(resid)))

    def _embed(self, ids: Int[Tensor, "batch time"], start: int = 0) -> Float[Tensor, "batch time d_model"]:
        """Check the input and return token plus learned position embeddings, the first for position `start`."""
        end = start + ids.shape[1]
        if ids.shape[1] == 0 or end > self.config.context_length:
            raise invalid("ids", f"have 1 to `context_length` = {self.config.context_length} tokens", end)
        # on a GPU the comparison would wait for the device at every step: there the embedding's own check has to do
        if not ids.is_cuda and (ids.min() < 0 or ids.max() >= self.config.vocab_size):
            outside = int(ids.min() if ids.min() < 0 else ids.max())
            raise invalid("ids", f"be from 0 to {self.config.vocab_size - 1}", outside)
        x = cast(Tensor, self.token_embedding(ids))
        return x if self.position_embedding is None else x + self.position_embedding.weight[start:end]

    def loss(self, ids: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Return the mean cross-entropy in nats per token. targets[b, t] is the token after ids[b, t]."""
        if ids.shape != targets.shape:
            raise invalid("targets", f"have the shape of `ids`, {tuple(ids.shape)}", tuple(targets.shape))
        logits = cast(Tensor, self(ids)).flatten(0, 1)
        return F.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), targets.flatten())

    def generate(
        self,
        start: Int[Tensor, "batch prompt"],
        max_length: int | None = None,
        *,
        max_new_tokens: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        use_cache: bool = True,
        overflow: Literal["context_shift", "crop"] = "context_shift",
    ) -> Int[Tensor, "batch length"]:
        """Continue each prompt; see `lets_build_gpt.generate.generate`. `max_length` counts the prompt."""
        from lets_build_gpt.generate import generate

        return generate(
            self,
            start,
            max_length,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            generator=generator,
            use_cache=use_cache,
            overflow=overflow,
        )

    def num_parameters(self) -> int:
        """Return the number of trained parameters. A tied matrix counts once."""
        return sum(p.numel() for p in self.parameters())

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors into `folder`, each atomically."""
        from lets_build_gpt.checkpoint import save_model

        save_model(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Model:
        """Return the model of a folder in evaluation mode.

        Raises: ValueError that names the file if one is missing, damaged, or does not fit the other.
        """
        from lets_build_gpt.checkpoint import load_model

        return load_model(folder)

    @classmethod
    def from_config(cls, config: ModelConfig) -> Model:
        """Return a new model of the shape that `config` describes."""
        options = asdict(config)
        return cls(h=options.pop("n_heads"), n_vocab=options.pop("vocab_size"), **options)
