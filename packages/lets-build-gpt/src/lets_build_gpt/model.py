"""The GPT, from a single head of causal self-attention to the whole model.

The staircase: SelfAttention -> MultiHeadAttention -> FeedForwardNetwork -> Block -> Model. Equations are those
of "Attention Is All You Need" (1706.03762); the block is pre-norm, as in GPT-2 (section 2.3).

Letters in the shapes: batch; context, the tokens of a window; d_model, the width of the residual stream;
h heads of d_k = d_model / h each; n_vocab.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lets_build_gpt.cache import KeyValueCache
from lets_build_gpt.config import ACTIVATIONS, ModelConfig
from lets_build_gpt.dropout import Dropout, dropout

Intermediates = dict[str, Tensor]


class SelfAttention(nn.Module):
    """One causal head: softmax(QK^T / sqrt(d_k)) V, Eq. (1), in which a token sees itself and what came before.

    This is the head to read. MultiHeadAttention computes h of them at once, and its heads() gives them back.
    """

    def __init__(self, d_model: int, d_k: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_k, bias=False)
        self.key = nn.Linear(d_model, d_k, bias=False)
        self.value = nn.Linear(d_model, d_k, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch context d_model"]) -> Float[Tensor, "batch context d_k"]:
        """A weighted mean of the values, for each token over itself and those before it."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])  # (batch, context, context)
        may_attend = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        weights = torch.softmax(scores.masked_fill(~may_attend, -math.inf), dim=-1)
        return self.dropout(weights) @ v


class MultiHeadAttention(nn.Module):
    """h heads side by side, concatenated and projected: Concat(head_1, ..., head_h) W^O, section 3.2.2.

    The three projections of all heads are one matrix product. The rows of `qkv.weight` are the queries' of
    head 1, ..., head h, then the keys', then the values'.
    """

    def __init__(self, d_model: int, h: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        if d_model % h != 0:
            raise ValueError(f"d_model: {d_model} is not divisible by h = {h}")
        self.h = h
        self.p_dropout = dropout
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.projection = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "batch context d_model"],
        cache: KeyValueCache | None = None,
        weights_out: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch context d_model"]:
        """Attend causally; with a cache, also to the tokens that it holds. Weights are appended to weights_out."""
        batch, context, d_model = x.shape
        # (3, batch, h, context, d_k), contiguous: the products below then run on whole matrices
        q, k, v = self.qkv(x).view(batch, context, 3, self.h, -1).permute(2, 0, 3, 1, 4).contiguous().unbind(0)
        if cache is not None:
            k, v = cache.append(self, k, v)
        p_dropout = self.p_dropout if self.training else 0.0
        if x.is_cuda and weights_out is None and (cache is None or context == k.shape[2]):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p_dropout)
        else:
            out, weights = causal_attention(q, k, v, p_dropout)
            if weights_out is not None:
                weights_out.append(weights)
        return self.projection(out.transpose(1, 2).reshape(batch, context, d_model))

    def heads(self) -> list[SelfAttention]:
        """The same weights as separate heads: the concatenation of their outputs, projected, is forward()."""
        d_model = self.qkv.in_features
        d_k = d_model // self.h
        heads = []
        per_head = (part.split(d_k) for part in self.qkv.weight.detach().split(d_model))
        for weights in zip(*per_head, strict=True):
            head = SelfAttention(d_model, d_k, self.p_dropout).to(self.qkv.weight).train(self.training)
            for projection, weight in zip((head.query, head.key, head.value), weights, strict=True):
                projection.weight = nn.Parameter(weight.clone())
            heads.append(head)
        return heads


def causal_attention(
    q: Float[Tensor, "batch h queries d_k"],
    k: Float[Tensor, "batch h keys d_k"],
    v: Float[Tensor, "batch h keys d_k"],
    p_dropout: float = 0.0,
) -> tuple[Float[Tensor, "batch h queries d_k"], Float[Tensor, "batch h queries keys"]]:
    """softmax(QK^T / sqrt(d_k) + mask) V and the weights; the last query is that of the last key.

    Written out because on a CPU it trains faster than the fused kernel, whose backward is slow in bfloat16;
    adding the mask inside the product (baddbmm) saves a pass over the scores, forward and backward.
    """
    batch, h, queries, d_k = q.shape
    keys = k.shape[2]
    future = torch.full((queries, keys), -math.inf, dtype=_product_dtype(q), device=q.device).triu(keys - queries + 1)
    scores = torch.baddbmm(
        future.expand(batch * h, queries, keys),
        q.reshape(batch * h, queries, d_k),
        k.reshape(batch * h, keys, d_k).transpose(1, 2),
        alpha=1 / math.sqrt(d_k),
    )
    weights = torch.softmax(scores, dim=-1)
    kept = dropout(weights, p_dropout) if p_dropout else weights
    out = torch.bmm(kept, v.reshape(batch * h, keys, d_k))
    return out.view(batch, h, queries, d_k), weights.view(batch, h, queries, keys)


def _product_dtype(x: Tensor) -> torch.dtype:
    """The type in which a matrix product of x is computed: autocast's, where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class FeedForwardNetwork(nn.Module):
    """Each token on its own: widen fourfold, bend, narrow again. FFN(x) = max(0, x W_1 + b_1) W_2 + b_2, Eq. (2).

    `activation` is "relu", the source's; a recipe may choose "gelu" (1606.08415).
    """

    def __init__(self, d_model: int, activation: str = "relu", bias: bool = True) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: {activation!r}; it has to be one of {', '.join(ACTIVATIONS)}")
        self.activation = activation
        self.widen = nn.Linear(d_model, 4 * d_model, bias=bias)
        self.narrow = nn.Linear(4 * d_model, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "batch context d_model"]) -> Float[Tensor, "batch context d_model"]:
        """The same two-layer network at every position."""
        wide = self.widen(x)
        return self.narrow(F.gelu(wide) if self.activation == "gelu" else F.relu(wide))


class Block(nn.Module):
    """Communication, then computation: x + Attention(LN(x)), then x + FFN(LN(x)); dropout on both branches."""

    def __init__(
        self,
        d_model: int,
        h: int,
        dropout: float = 0.0,
        activation: str = "relu",
        bias: bool = True,
        attention_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(d_model, bias=bias)
        self.attention = MultiHeadAttention(
            d_model, h, dropout if attention_dropout is None else attention_dropout, bias
        )
        self.norm_2 = nn.LayerNorm(d_model, bias=bias)
        self.ffn = FeedForwardNetwork(d_model, activation, bias)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch context d_model"],
        cache: KeyValueCache | None = None,
        weights_out: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch context d_model"]:
        """The residual stream after both branches."""
        x = x + self.dropout(self.attention(self.norm_1(x), cache, weights_out))
        return x + self.dropout(self.ffn(self.norm_2(x)))


class Model(nn.Module):
    """A GPT on characters: token and position embeddings, n_layers blocks, a norm, logits over the next token.

    Initialised as GPT-2: weights from N(0, 0.02), those that write to the residual stream (`projection`,
    `narrow`) scaled by 1 / sqrt(2 n_layers), so that its variance does not grow with depth; biases zero.

        model = Model(context_length=64, n_vocab=65)
        logits = model(torch.randint(0, 65, (4, 8)))      # (4, 8, 65)

    Raises ValueError for sizes that do not fit, input longer than context_length, ids outside the vocabulary.
    """

    def __init__(
        self,
        context_length: int = 8,
        d_model: int = 384,
        h: int = 6,
        n_layers: int = 6,
        n_vocab: int = 65,
        dropout: float = 0.2,
        activation: str = "relu",
        bias: bool = True,
        tie_embeddings: bool = False,
        attention_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.config = ModelConfig(
            context_length, d_model, h, n_layers, n_vocab, dropout, activation, bias, tie_embeddings, attention_dropout
        )
        self.token_embedding = nn.Embedding(n_vocab, d_model)
        self.position_embedding = nn.Embedding(context_length, d_model)
        self.blocks = nn.ModuleList(
            Block(d_model, h, dropout, activation, bias, attention_dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model, bias=bias)
        self.head = nn.Linear(d_model, n_vocab, bias=bias)
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                writes_to_residual = name.endswith(("projection.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * n_layers) if writes_to_residual else 0.02)
        if tie_embeddings:
            self.head.weight = self.token_embedding.weight

    def forward(
        self,
        ids: Int[Tensor, "batch context"],
        *,
        cache: KeyValueCache | None = None,
        intermediates: Intermediates | None = None,
    ) -> Float[Tensor, "batch context n_vocab"]:
        """Logits of the next token at every position.

        With a cache, ids are the tokens after those that it holds. A dictionary given as `intermediates` is filled
        with "attn", the attention weights (layers, batch, h, queries, keys), and "resid", the residual stream before
        each block and after the last (layers + 1, batch, context, d_model).
        """
        x = self.embed(ids, start=0 if cache is None else cache.length)
        weights: list[Tensor] | None = None if intermediates is None else []
        resid = [x]
        for block in self.blocks:
            x = block(x, cache, weights)
            resid.append(x)
        if cache is not None:
            cache.length += ids.shape[1]
        if intermediates is not None and weights is not None:
            intermediates |= {"attn": torch.stack(weights), "resid": torch.stack(resid)}
        return self.head(self.norm(x))

    def embed(self, ids: Int[Tensor, "batch context"], start: int = 0) -> Float[Tensor, "batch context d_model"]:
        """Token plus position embeddings, the first token at position `start`; checks the input."""
        end = start + ids.shape[1]
        if ids.shape[1] == 0 or end > self.config.context_length:
            raise ValueError(f"ids: {end} tokens; this model takes 1 to context_length = {self.config.context_length}")
        # comparing on a GPU would wait for it at every step: there, the embedding's own check has to do
        if not ids.is_cuda and (ids.min() < 0 or ids.max() >= self.config.n_vocab):
            raise ValueError(f"ids: {ids.min()} to {ids.max()}; this model takes 0 to {self.config.n_vocab - 1}")
        return self.token_embedding(ids) + self.position_embedding.weight[start:end]

    def loss(self, ids: Int[Tensor, "batch context"], targets: Int[Tensor, "batch context"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of targets, nats per token. targets[b, t] is the token after ids[b, t]."""
        if ids.shape != targets.shape:
            raise ValueError(f"targets: shape {tuple(targets.shape)}; it has to be that of ids, {tuple(ids.shape)}")
        logits = self(ids).flatten(0, 1)
        return F.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), targets.flatten())

    def generate(
        self,
        ids: Int[Tensor, "batch prompt"],
        max_length: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
        use_cache: bool = True,
    ) -> Int[Tensor, "batch max_length"]:
        """Continue a prompt until max_length tokens, the prompt among them; see lets_build_gpt.generate."""
        from lets_build_gpt.generate import generate

        return generate(
            self, ids, max_length, temperature=temperature, top_k=top_k, generator=generator, use_cache=use_cache
        )

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained; a tied matrix counts once."""
        return sum(p.numel() for p in self.parameters())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, each under a temporary name first."""
        from lets_build_gpt.storage import save_model

        save_model(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Model:
        """Read what save_pretrained wrote; ValueError where the files are damaged or do not fit each other."""
        from lets_build_gpt.storage import load_model

        return load_model(folder)

    @classmethod
    def from_config(cls, config: ModelConfig) -> Model:
        """A new model of the shape that a config describes."""
        return cls(**asdict(config))
