"""A decoder-only Transformer for plain text: the decoder of Figure 1 without cross-attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from attention_numpy._common.errors import check_integer
from attention_numpy.blocks import EncoderLayer
from attention_numpy.checks import check_gradient
from attention_numpy.config import MAX_SEED, LanguageModelConfig
from attention_numpy.layers import Embedding, LayerNorm, Linear, PositionalEncoding, new_rng
from attention_numpy.model import as_batch, causal_mask, check_dtype
from attention_numpy.module import Array, DType, Intermediates, Module


class LanguageModel(Module):
    """Decoder-only model: logits_t = generator(layers(embed(ids_1 .. ids_t))).

    Shapes: ids (batch, time); logits (batch, time, vocab). Each position attends to itself and to what is left of it.
    A decoder layer without cross-attention is an encoder layer with a causal mask.
    Backward: the parts in reverse order.
    """

    def __init__(self, config: LanguageModelConfig, *, seed: int = 0, dtype: DType = np.float32) -> None:
        super().__init__()
        check_dtype(dtype)
        check_integer("seed", seed, 0, MAX_SEED)
        self.config = c = config
        self.rng = rng = new_rng(seed)  # samples the parameters, then the dropout masks
        self.embed = Embedding(c.vocab_size, c.d_model, rng=rng, dtype=dtype)
        self.position = PositionalEncoding(c.d_model, c.dropout, rng=rng)
        sizes = (c.d_model, c.n_heads, c.d_ff, c.dropout, c.norm)
        self.layers = [EncoderLayer(*sizes, rng=rng, dtype=dtype) for _ in range(c.n_layers)]
        self.norm = LayerNorm(c.d_model, dtype=dtype) if c.norm == "pre" else None
        self.generator = Linear(c.d_model, c.vocab_size, rng=rng, dtype=dtype)
        self.name_modules()

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The dtype of the parameters, and so of everything that is computed."""
        return self.generator.weight.data.dtype

    @overload
    def __call__(self, ids: npt.ArrayLike, *, return_intermediates: Literal[False] = ...) -> Array: ...
    @overload
    def __call__(self, ids: npt.ArrayLike, *, return_intermediates: Literal[True]) -> tuple[Array, Intermediates]: ...
    def __call__(
        self, ids: npt.ArrayLike, *, return_intermediates: bool = False
    ) -> Array | tuple[Array, Intermediates]:
        """Run the forward pass."""
        return self.forward(ids, return_intermediates=return_intermediates)

    def forward(self, ids: npt.ArrayLike, *, return_intermediates: bool = False) -> Array | tuple[Array, Intermediates]:
        """Return the logits, (batch, time, vocab).

        return_intermediates: also return every layer's attention weights (batch, heads, time, time), by its name.
        """
        ids = as_batch("ids", ids, self.config.vocab_size)
        intermediates: Intermediates | None = {} if return_intermediates else None
        x = self.position.forward(self.embed.forward(ids))
        mask = causal_mask(ids.shape[1])
        for layer in self.layers:
            x = layer.forward(x, mask, intermediates)
        if self.norm is not None:
            x = self.norm.forward(x)
        logits: Array = self.generator.forward(x)
        self.save_for_backward(logits.shape)
        return logits if intermediates is None else (logits, intermediates)

    def backward(self, dlogits: Array) -> None:
        """Add the gradient of the loss to every parameter's gradient, given the gradient of the logits."""
        if self._saved:  # checked before anything is popped: a correct gradient may still follow
            check_gradient(dlogits, self._saved[-1][0], self.dtype)
        self.pop_saved()
        dx = self.generator.backward(dlogits)
        if self.norm is not None:
            dx = self.norm.backward(dx)
        for layer in reversed(self.layers):
            dx = layer.backward(dx)
        self.embed.backward(self.position.backward(dx))

    def generate(
        self,
        prompt: npt.ArrayLike,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: np.random.Generator | None = None,
    ) -> list[int]:
        """Return the ids that continue the prompt. See `generate.stream_tokens`."""
        return list(self.stream(prompt, max_new_tokens, temperature=temperature, top_k=top_k, generator=generator))

    def stream(
        self,
        prompt: npt.ArrayLike,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: np.random.Generator | None = None,
    ) -> Iterator[int]:
        """Yield the ids that continue the prompt, one by one. See `generate.stream_tokens`."""
        from attention_numpy.generate import stream_tokens

        return stream_tokens(self, prompt, max_new_tokens, temperature=temperature, top_k=top_k, generator=generator)
