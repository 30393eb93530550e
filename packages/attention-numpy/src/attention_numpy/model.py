"""The encoder-decoder Transformer, section 3.1 (Figure 1), forward and backward.

Parameters have the names of torch.nn.Transformer: encoder.layers.0.self_attn.in_proj_weight and so on. Beside them are
src_embed.weight, tgt_embed.weight, generator.weight and generator.bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import numpy.typing as npt

from attention_numpy._common.errors import check_integer, invalid
from attention_numpy.blocks import Decoder, DecoderLayer, Encoder, EncoderLayer
from attention_numpy.checks import check_gradient, check_ids
from attention_numpy.config import MAX_SEED, TransformerConfig
from attention_numpy.layers import Embedding, LayerNorm, Linear, PositionalEncoding, new_rng
from attention_numpy.module import Array, DType, Intermediates, Module

if TYPE_CHECKING:
    from attention_numpy.generate import LengthNorm


def causal_mask(time: int) -> Array:
    """Return (time, time), True where query i may attend to key j, that is j <= i.   (section 3.2.3)

    >>> causal_mask(3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    return np.tril(np.ones((time, time), bool))


def padding_mask(ids: Array, pad_id: int) -> Array | None:
    """Return (batch, 1, 1, time), True at keys that are not padding; None if there is no padding."""
    return None if (ids != pad_id).all() else (ids != pad_id)[:, None, None, :]


def as_batch(name: str, ids: npt.ArrayLike, vocab_size: int) -> Array:
    """Return ids as an array (batch, time). Raises: ValueError for another shape, an empty one, or foreign ids."""
    array = np.asarray(ids)
    if array.ndim != 2 or 0 in array.shape:
        raise invalid(name, "have the shape (batch, time), neither of them 0", array.shape)
    check_ids(name, array, vocab_size)
    return array


def check_dtype(dtype: DType) -> None:
    """Raise ValueError unless `dtype`, of a model's parameters, is float32 or float64."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise invalid("dtype", "be float32 or float64", dtype) from None
    if found not in (np.float32, np.float64):
        raise invalid("dtype", "be float32 or float64", str(found))


class Transformer(Module):
    """Encoder-decoder model: logits = generator(Decoder(embed(tgt), Encoder(embed(src)))).   (Figure 1)

    Shapes: ids src (batch, source) and tgt (batch, target); logits (batch, target, tgt_vocab). Padding is masked as a
    key; in the target, keys to the right of the query are masked, too. All parameters and gradients are float32 or
    float64.
    Backward: the parts in reverse order. With tied embeddings, three gradients add up in one matrix.
    """

    def __init__(self, config: TransformerConfig, *, seed: int = 0, dtype: DType = np.float32) -> None:
        super().__init__()
        check_dtype(dtype)
        check_integer("seed", seed, 0, MAX_SEED)
        self.config = c = config
        self.rng = rng = new_rng(seed)  # samples the parameters, then the dropout masks
        sizes = (c.d_model, c.n_heads, c.d_ff, c.dropout, c.norm)
        self.src_embed = Embedding(c.src_vocab_size, c.d_model, rng=rng, dtype=dtype)
        self.tgt_embed = Embedding(c.tgt_vocab_size, c.d_model, rng=rng, dtype=dtype)
        self.position = PositionalEncoding(c.d_model, c.dropout, rng=rng)
        norms = [LayerNorm(c.d_model, dtype=dtype) if c.has_final_norm else None for _ in range(2)]
        self.encoder = Encoder([EncoderLayer(*sizes, rng=rng, dtype=dtype) for _ in range(c.n_layers)], norms[0])
        self.decoder = Decoder([DecoderLayer(*sizes, rng=rng, dtype=dtype) for _ in range(c.n_layers)], norms[1])
        self.generator = Linear(c.d_model, c.tgt_vocab_size, rng=rng, dtype=dtype)
        if c.tie_embeddings:
            self.tgt_embed.weight = self.generator.weight = self.src_embed.weight
        self.name_modules()

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The dtype of the parameters, and so of everything that is computed."""
        return self.generator.weight.data.dtype

    @overload
    def __call__(
        self, src: npt.ArrayLike, tgt: npt.ArrayLike, *, return_intermediates: Literal[False] = ...
    ) -> Array: ...
    @overload
    def __call__(
        self, src: npt.ArrayLike, tgt: npt.ArrayLike, *, return_intermediates: Literal[True]
    ) -> tuple[Array, Intermediates]: ...
    def __call__(
        self, src: npt.ArrayLike, tgt: npt.ArrayLike, *, return_intermediates: bool = False
    ) -> Array | tuple[Array, Intermediates]:
        """Run the forward pass."""
        return self.forward(src, tgt, return_intermediates=return_intermediates)

    def forward(
        self, src: npt.ArrayLike, tgt: npt.ArrayLike, *, return_intermediates: bool = False
    ) -> Array | tuple[Array, Intermediates]:
        """Return the logits, (batch, target, tgt_vocab).

        return_intermediates: also return every layer's attention weights (batch, heads, queries, keys), by its name.
        """
        src, tgt = as_batch("src", src, self.config.src_vocab_size), as_batch("tgt", tgt, self.config.tgt_vocab_size)
        if len(src) != len(tgt):
            raise ValueError(f"`tgt` must have as many sequences as `src` = {len(src)}, got {len(tgt)}")
        intermediates: Intermediates | None = {} if return_intermediates else None
        logits = self.decode(tgt, self.encode(src, intermediates), src, intermediates)
        self.save_for_backward(logits.shape)
        return logits if intermediates is None else (logits, intermediates)

    def encode(self, src: npt.ArrayLike, intermediates: Intermediates | None = None) -> Array:
        """Return the memory, (batch, source, d_model)."""
        src = as_batch("src", src, self.config.src_vocab_size)
        x = self.position.forward(self.src_embed.forward(src))
        return self.encoder.forward(x, padding_mask(src, self.config.pad_id), intermediates)

    def decode(
        self, tgt: npt.ArrayLike, memory: Array, src: npt.ArrayLike, intermediates: Intermediates | None = None
    ) -> Array:
        """Return the logits for a given memory, (batch, target, tgt_vocab). `src` tells which keys are padding."""
        tgt, src = as_batch("tgt", tgt, self.config.tgt_vocab_size), as_batch("src", src, self.config.src_vocab_size)
        mask, real = causal_mask(tgt.shape[1]), padding_mask(tgt, self.config.pad_id)
        if real is not None:
            mask = mask & real
        x = self.position.forward(self.tgt_embed.forward(tgt))
        x = self.decoder.forward(x, memory, mask, padding_mask(src, self.config.pad_id), intermediates)
        return self.generator.forward(x)

    def backward(self, dlogits: Array) -> None:
        """Add the gradient of the loss to every parameter's gradient, given the gradient of the logits."""
        if self._saved:  # checked before anything is popped: a correct gradient may still follow
            check_gradient(dlogits, self._saved[-1][0], self.dtype)
        self.pop_saved()
        dx, dmemory = self.decoder.backward(self.generator.backward(dlogits))
        self.tgt_embed.backward(self.position.backward(dx))
        self.src_embed.backward(self.position.backward(self.encoder.backward(dmemory)))

    def generate(
        self,
        src: npt.ArrayLike,
        *,
        bos_id: int = 1,
        eos_id: int = 2,
        max_new_tokens: int = 64,
        beam_size: int = 1,
        length_norm: LengthNorm = "gnmt",
        length_alpha: float = 0.6,
        temperature: float = 0.0,
        top_k: int | None = None,
        generator: np.random.Generator | None = None,
    ) -> list[list[int]]:
        """Return the target ids of each source: greedy, sampled, or by beam search. See `generate.generate`."""
        from attention_numpy.generate import generate

        return generate(
            self,
            src,
            bos_id=bos_id,
            eos_id=eos_id,
            max_new_tokens=max_new_tokens,
            beam_size=beam_size,
            length_norm=length_norm,
            length_alpha=length_alpha,
            temperature=temperature,
            top_k=top_k,
            generator=generator,
        )
