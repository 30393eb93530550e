"""A decoder-only Transformer for plain text: the decoder of Figure 1 without attention to a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from attention_numpy.generate import sample
from attention_numpy.layer import Array, DType, Layer, check_gradient
from attention_numpy.layers import Embedding, LayerNorm, Linear, PositionalEncoding, check_ids, new_rng
from attention_numpy.model import EncoderLayer, causal_mask


@dataclass(frozen=True)
class LanguageModelConfig:
    """The sizes of a language model."""

    vocab: int
    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 2
    d_ff: int = 512
    dropout: float = 0.1
    norm: Literal["post", "pre"] = "pre"


class LanguageModel(Layer):
    """logits_t = generator(layers(embed(ids_1 .. ids_t))): each position sees itself and what is to its left.

    ids: (batch, n); logits: (batch, n, vocab). A layer of the decoder without cross-attention is an encoder layer
    with a causal mask. Backward: the parts in reverse.
    """

    def __init__(self, config: LanguageModelConfig, *, seed: int = 0, dtype: DType = np.float32) -> None:
        super().__init__()
        self.config = c = config
        self.rng = rng = new_rng(seed)
        self.embed = Embedding(c.vocab, c.d_model, rng=rng, dtype=dtype)
        self.position = PositionalEncoding(c.d_model, c.dropout, rng=rng)
        sizes = (c.d_model, c.n_heads, c.d_ff, c.dropout, c.norm)
        self.layers = [EncoderLayer(*sizes, rng=rng, dtype=dtype) for _ in range(c.n_layers)]
        self.norm = LayerNorm(c.d_model, dtype=dtype) if c.norm == "pre" else None
        self.generator = Linear(c.d_model, c.vocab, rng=rng, dtype=dtype)
        self.name_layers()
        self.parameters()

    def forward(self, ids: npt.ArrayLike, seen: dict[str, Array] | None = None) -> Array:
        """(batch, n) -> logits (batch, n, vocab)."""
        ids = np.asarray(ids)
        if ids.ndim != 2 or 0 in ids.shape:
            raise ValueError(f"ids: shape {ids.shape} met, (batch, length) is needed, neither of them 0")
        check_ids("ids", ids, self.config.vocab)
        x = self.position.forward(self.embed.forward(ids))
        mask = causal_mask(ids.shape[1])
        for layer in self.layers:
            x = layer.forward(x, mask, seen)
        if self.norm is not None:
            x = self.norm.forward(x)
        logits: Array = self.generator.forward(x)
        self.keep(logits.shape)
        return logits

    def backward(self, dlogits: Array) -> None:
        """Add the gradient of the loss to every parameter's, given its gradient by the logits."""
        (shape,) = self.kept()
        check_gradient(dlogits, shape, self.parameters().data.dtype)
        dx = self.generator.backward(dlogits)
        if self.norm is not None:
            dx = self.norm.backward(dx)
        for layer in reversed(self.layers):
            dx = layer.backward(dx)
        self.embed.backward(self.position.backward(dx))

    def state_dict(self) -> dict[str, Array]:
        """Every parameter by name, copied."""
        return self.parameters().state_dict()

    def grad_dict(self) -> dict[str, Array]:
        """Every gradient by the same name, copied."""
        return self.parameters().grad_dict()

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """The inverse of state_dict."""
        self.parameters().load_state_dict(state)

    def generate(
        self, prompt: list[int], length: int, *, temperature: float = 1.0, top_k: int | None = None, seed: int = 0
    ) -> list[int]:
        """`length` ids that continue the prompt, sampled one by one with a key/value cache."""
        if not prompt:
            raise ValueError("prompt: at least one id is needed")
        check_ids("prompt", np.asarray(prompt), self.config.vocab)
        was_training, rng = self.training, new_rng(seed)
        self.eval()
        try:
            caches = [layer.self_attn.new_cache(1, len(prompt) + length) for layer in self.layers]
            ids = list(prompt)
            for position in range(len(prompt) + length - 1):
                x = self.position.forward(self.embed.forward(np.array([[ids[position]]])), start=position)
                for layer, cache in zip(self.layers, caches, strict=True):
                    attend = layer.self_attn
                    x = layer.around(x, lambda y, a=attend, c=cache: a.step(y, c), layer.norm1, layer.dropout1)  # type: ignore[misc]
                    x = layer.around(x, layer.feed_forward.forward, layer.norm2, layer.dropout2)
                if position + 1 == len(ids):
                    x = x if self.norm is None else self.norm.forward(x)
                    ids += sample(self.generator.forward(x)[0], temperature, top_k, rng).tolist()
            return ids[len(prompt) :]
        finally:
            self.train(was_training)
