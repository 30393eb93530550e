"""The encoder-decoder Transformer, section 3.1 (Figure 1), forward and backward.

Parameters are named as in torch.nn.Transformer: encoder.layers.0.self_attn.in_proj_weight and so on; beside them
src_embed.weight, tgt_embed.weight, generator.weight and generator.bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from attention_numpy.attention import MultiHeadAttention
from attention_numpy.generate import generate
from attention_numpy.layer import Array, DType, Layer, check_gradient
from attention_numpy.layers import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    PositionalEncoding,
    PositionwiseFeedForward,
    Rng,
    check_ids,
    new_rng,
)

Norm = Literal["post", "pre"]


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of a model; the defaults are the base model of the paper's Table 3."""

    src_vocab: int
    tgt_vocab: int
    d_model: int = 512
    n_heads: int = 8
    n_layers: int = 6
    d_ff: int = 2048
    dropout: float = 0.1
    norm: Norm = "post"
    """post: LayerNorm(x + Sublayer(x)), the paper's; pre: x + Sublayer(LayerNorm(x))."""
    final_norm: bool | None = None
    """A LayerNorm after each stack, as torch.nn.Transformer has it. None: only with pre-norm, which needs it."""
    tie_embeddings: bool = False
    """One matrix for both embeddings and the pre-softmax map, section 3.4."""
    pad: int = 0

    def __post_init__(self) -> None:
        for name in ("src_vocab", "tgt_vocab", "d_model", "n_heads", "n_layers", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} met, at least 1 is needed")
        if self.norm not in ("post", "pre"):
            raise ValueError(f"norm: {self.norm!r} met, 'post' or 'pre' is needed")
        if self.tie_embeddings and self.src_vocab != self.tgt_vocab:
            raise ValueError(f"tie_embeddings: one vocabulary is needed, {self.src_vocab} and {self.tgt_vocab} met")
        if not 0 <= self.pad < min(self.src_vocab, self.tgt_vocab):
            raise ValueError(f"pad: id {self.pad} is not in both vocabularies")

    @property
    def has_final_norm(self) -> bool:
        """Whether a LayerNorm follows each stack."""
        return self.norm == "pre" if self.final_norm is None else self.final_norm


class SublayerStack(Layer):
    """A layer of the encoder or decoder: sub-layers, each in a residual connection with dropout and LayerNorm.

    post (section 3.1):  y = LayerNorm(x + Dropout(Sublayer(x)))
        ds = LayerNorm's backward of dy,   dx = ds + Sublayer's backward of Dropout's backward of ds
    pre:                 y = x + Dropout(Sublayer(LayerNorm(x)))
        dx = dy + LayerNorm's backward of Sublayer's backward of Dropout's backward of dy
    x, y: (batch, n, d_model). The gradient splits in two at the sum and adds up again at x.
    Kept for backward: what the parts keep. Numerics: in pre-norm the residual sum is never normalised, so its
    variance grows with depth, and the stack ends in a LayerNorm; in post-norm it is 1 after each layer, but
    gradients pass one LayerNorm a sub-layer, which is why post-norm needs the warm-up of section 5.3.
    """

    pre: bool

    def around(self, x: Array, sublayer: Callable[[Array], Array], norm: LayerNorm, dropout: Dropout) -> Array:
        """One residual connection, forward."""
        y = sublayer(norm.forward(x) if self.pre else x)
        dropout.forward(y, out=y)
        y += x
        return y if self.pre else norm.forward(y)

    def around_backward(
        self, dy: Array, sublayer_backward: Callable[[Array], Array], norm: LayerNorm, dropout: Dropout
    ) -> Array:
        """The same, backward."""
        ds = dy if self.pre else norm.backward(dy)
        dx = sublayer_backward(dropout.backward(ds))
        if self.pre:
            dx = norm.backward(dx)
        dx += ds
        return dx


class EncoderLayer(SublayerStack):
    """Self-attention, then the feed-forward network   — section 3.1, the left of Figure 1. Backward: in reverse."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float,
        norm: Norm,
        *,
        rng: Rng | None = None,
        dtype: DType = np.float32,
    ) -> None:
        super().__init__()
        rng = rng or new_rng(0)
        self.pre = norm == "pre"
        self.self_attn = MultiHeadAttention(d_model, n_heads, dropout, rng=rng, dtype=dtype)
        self.feed_forward = PositionwiseFeedForward(d_model, d_ff, dropout, rng=rng, dtype=dtype)
        self.norm1, self.norm2 = (LayerNorm(d_model, dtype=dtype) for _ in range(2))
        self.dropout1, self.dropout2 = (Dropout(dropout, rng=rng) for _ in range(2))

    def forward(self, x: Array, mask: Array | None = None, seen: dict[str, Array] | None = None) -> Array:
        """(batch, n, d_model) -> the same; mask: True = may attend, broadcast to (batch, h, n, n)."""
        x = self.around(x, lambda y: self.self_attn.forward(y, None, mask, seen), self.norm1, self.dropout1)
        return self.around(x, self.feed_forward.forward, self.norm2, self.dropout2)

    def backward(self, dy: Array) -> Array:
        """(batch, n, d_model) -> the same."""
        dy = self.around_backward(dy, self.feed_forward.backward, self.norm2, self.dropout2)
        return self.around_backward(dy, lambda d: self.self_attn.backward(d)[0], self.norm1, self.dropout1)


class DecoderLayer(SublayerStack):
    """Causal self-attention, attention to the encoder's output, the feed-forward network — the right of Figure 1."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float,
        norm: Norm,
        *,
        rng: Rng | None = None,
        dtype: DType = np.float32,
    ) -> None:
        super().__init__()
        rng = rng or new_rng(0)
        self.pre = norm == "pre"
        self.self_attn = MultiHeadAttention(d_model, n_heads, dropout, rng=rng, dtype=dtype)
        self.multihead_attn = MultiHeadAttention(d_model, n_heads, dropout, rng=rng, dtype=dtype)
        self.feed_forward = PositionwiseFeedForward(d_model, d_ff, dropout, rng=rng, dtype=dtype)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(d_model, dtype=dtype) for _ in range(3))
        self.dropout1, self.dropout2, self.dropout3 = (Dropout(dropout, rng=rng) for _ in range(3))

    def forward(
        self,
        x: Array,
        memory: Array,
        mask: Array | None = None,
        memory_mask: Array | None = None,
        seen: dict[str, Array] | None = None,
    ) -> Array:
        """x (batch, n, d_model), memory (batch, m, d_model) -> (batch, n, d_model)."""
        x = self.around(x, lambda y: self.self_attn.forward(y, None, mask, seen), self.norm1, self.dropout1)
        cross = self.multihead_attn
        x = self.around(x, lambda y: cross.forward(y, memory, memory_mask, seen), self.norm2, self.dropout2)
        return self.around(x, self.feed_forward.forward, self.norm3, self.dropout3)

    def backward(self, dy: Array) -> tuple[Array, Array]:
        """(batch, n, d_model) -> the gradients of x and of memory."""
        dmemory: list[Array] = []

        def cross_backward(d: Array) -> Array:
            dx, dm = self.multihead_attn.backward(d)
            assert dm is not None
            dmemory.append(dm)
            return dx

        dy = self.around_backward(dy, self.feed_forward.backward, self.norm3, self.dropout3)
        dy = self.around_backward(dy, cross_backward, self.norm2, self.dropout2)
        dy = self.around_backward(dy, lambda d: self.self_attn.backward(d)[0], self.norm1, self.dropout1)
        return dy, dmemory[0]


class Encoder(Layer):
    """N encoder layers and, where configured, a final LayerNorm."""

    def __init__(self, layers: list[EncoderLayer], norm: LayerNorm | None) -> None:
        super().__init__()
        self.layers, self.norm = layers, norm

    def forward(self, x: Array, mask: Array | None, seen: dict[str, Array] | None = None) -> Array:
        """(batch, m, d_model) -> memory, (batch, m, d_model)."""
        for layer in self.layers:
            x = layer.forward(x, mask, seen)
        return x if self.norm is None else self.norm.forward(x)

    def backward(self, dy: Array) -> Array:
        """(batch, m, d_model) -> the same."""
        if self.norm is not None:
            dy = self.norm.backward(dy)
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy


class Decoder(Layer):
    """N decoder layers and, where configured, a final LayerNorm. All layers attend to one memory: its gradients add."""

    def __init__(self, layers: list[DecoderLayer], norm: LayerNorm | None) -> None:
        super().__init__()
        self.layers, self.norm = layers, norm

    def forward(
        self,
        x: Array,
        memory: Array,
        mask: Array | None,
        memory_mask: Array | None,
        seen: dict[str, Array] | None = None,
    ) -> Array:
        """x (batch, n, d_model), memory (batch, m, d_model) -> (batch, n, d_model)."""
        for layer in self.layers:
            x = layer.forward(x, memory, mask, memory_mask, seen)
        return x if self.norm is None else self.norm.forward(x)

    def backward(self, dy: Array) -> tuple[Array, Array]:
        """(batch, n, d_model) -> the gradients of x and of memory."""
        if self.norm is not None:
            dy = self.norm.backward(dy)
        dmemory: Array | None = None
        for layer in reversed(self.layers):
            dy, dm = layer.backward(dy)
            if dmemory is None:
                dmemory = dm
            else:
                dmemory += dm
        assert dmemory is not None
        return dy, dmemory


def causal_mask(n: int) -> Array:
    """(n, n), True where query i may attend to key j, that is j <= i   — section 3.2.3."""
    return np.tril(np.ones((n, n), bool))


def padding_mask(ids: Array, pad: int) -> Array | None:
    """(batch, 1, 1, n), True at keys that are no padding; None where there is none."""
    return None if (ids != pad).all() else (ids != pad)[:, None, None, :]


class Transformer(Layer):
    """logits = generator(Decoder(embed(tgt), Encoder(embed(src))))   — Figure 1.

    src: (batch, m) and tgt: (batch, n), ids; logits: (batch, n, tgt_vocab). Keys that are padding are masked, in the
    target also those to the right of the query. All parameters and gradients are float32 or float64, as `dtype` says.
    Backward: the parts in reverse; with tied embeddings, three gradients add up in one matrix.
    """

    def __init__(self, config: TransformerConfig, *, seed: int = 0, dtype: DType = np.float32) -> None:
        super().__init__()
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"dtype: {np.dtype(dtype)} met, float32 or float64 is needed")
        self.config = c = config
        self.rng = rng = new_rng(seed)  # for the parameters, then for dropout
        sizes = (c.d_model, c.n_heads, c.d_ff, c.dropout, c.norm)
        self.src_embed = Embedding(c.src_vocab, c.d_model, rng=rng, dtype=dtype)
        self.tgt_embed = Embedding(c.tgt_vocab, c.d_model, rng=rng, dtype=dtype)
        self.position = PositionalEncoding(c.d_model, c.dropout, rng=rng)
        norms = [LayerNorm(c.d_model, dtype=dtype) if c.has_final_norm else None for _ in range(2)]
        self.encoder = Encoder([EncoderLayer(*sizes, rng=rng, dtype=dtype) for _ in range(c.n_layers)], norms[0])
        self.decoder = Decoder([DecoderLayer(*sizes, rng=rng, dtype=dtype) for _ in range(c.n_layers)], norms[1])
        self.generator = Linear(c.d_model, c.tgt_vocab, rng=rng, dtype=dtype)
        if c.tie_embeddings:
            self.tgt_embed.weight = self.generator.weight = self.src_embed.weight
        self.name_layers()
        self.parameters()

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The dtype of the parameters, and so of all that is computed."""
        return self.parameters().data.dtype

    def forward(self, src: npt.ArrayLike, tgt: npt.ArrayLike, seen: dict[str, Array] | None = None) -> Array:
        """Logits, (batch, n, tgt_vocab). `seen` is filled with every layer's attention weights, by the layer's name."""
        src, tgt = np.asarray(src), np.asarray(tgt)
        self._check_ids("src", src, self.config.src_vocab)
        self._check_ids("tgt", tgt, self.config.tgt_vocab)
        if len(src) != len(tgt):
            raise ValueError(f"tgt: {len(tgt)} sequences met, src has {len(src)}")
        logits = self.decode(tgt, self.encode(src, seen), src, seen)
        self.keep(logits.shape)
        return logits

    def encode(self, src: Array, seen: dict[str, Array] | None = None) -> Array:
        """The memory, (batch, m, d_model)."""
        self._check_ids("src", src, self.config.src_vocab)
        x = self.position.forward(self.src_embed.forward(src))
        return self.encoder.forward(x, padding_mask(src, self.config.pad), seen)

    def decode(self, tgt: Array, memory: Array, src: Array, seen: dict[str, Array] | None = None) -> Array:
        """Logits from a memory, (batch, n, tgt_vocab)."""
        mask, real = causal_mask(tgt.shape[1]), padding_mask(tgt, self.config.pad)
        if real is not None:
            mask = mask & real
        x = self.position.forward(self.tgt_embed.forward(tgt))
        x = self.decoder.forward(x, memory, mask, padding_mask(src, self.config.pad), seen)
        return self.generator.forward(x)

    def backward(self, dlogits: Array) -> None:
        """Add the gradient of the loss to every parameter's, given its gradient by the logits."""
        (shape,) = self.kept()
        try:
            check_gradient(dlogits, shape, self.dtype)
        except ValueError:
            self.keep(shape)  # nothing is undone yet: the right gradient may still come
            raise
        dx, dmemory = self.decoder.backward(self.generator.backward(dlogits))
        self.tgt_embed.backward(self.position.backward(dx))
        self.src_embed.backward(self.position.backward(self.encoder.backward(dmemory)))

    def _check_ids(self, name: str, ids: Array, vocab: int) -> None:
        if ids.ndim != 2 or 0 in ids.shape:
            raise ValueError(f"{name}: shape {ids.shape} met, (batch, length) is needed, neither of them 0")
        check_ids(name, ids, vocab)

    def state_dict(self) -> dict[str, Array]:
        """Every parameter by torch's name, copied."""
        return self.parameters().state_dict()

    def grad_dict(self) -> dict[str, Array]:
        """Every gradient by the same name, copied."""
        return self.parameters().grad_dict()

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """The inverse of state_dict."""
        self.parameters().load_state_dict(state)

    generate = generate
