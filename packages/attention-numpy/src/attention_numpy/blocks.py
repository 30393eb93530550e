"""Encoder and decoder: attention and feed-forward networks in residual connections, section 3.1 (Figure 1)."""

from __future__ import annotations

import numpy as np

from attention_numpy._common.errors import check_choice
from attention_numpy.attention import MultiHeadAttention
from attention_numpy.config import NORMS, Norm
from attention_numpy.layers import Dropout, LayerNorm, PositionwiseFeedForward, Rng, new_rng
from attention_numpy.module import Array, DType, Intermediates, Module


class ResidualBlock(Module):
    """Sub-layers, each inside a residual connection with dropout and LayerNorm.

    post (section 3.1):  y = LayerNorm(x + Dropout(Sublayer(x)))
        dsum = LayerNorm's backward of dy,   dx = dsum + Sublayer's backward of Dropout's backward of dsum
    pre:                 y = x + Dropout(Sublayer(LayerNorm(x)))
        dx = dy + LayerNorm's backward of Sublayer's backward of Dropout's backward of dy
    Shapes: x, y (batch, time, d_model). The gradient splits into two at the sum, and the two add up at x.
    Numerics: with pre-norm the residual sum is never normalized, so its variance grows with depth, and the stack ends
    in a LayerNorm. With post-norm the variance is 1 after each layer, but gradients pass one LayerNorm per sub-layer,
    which is why post-norm needs the warm-up of section 5.3.
    """

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        self.pre = norm == "pre"

    def sublayer_input(self, x: Array, norm: LayerNorm) -> Array:
        """Return what the sub-layer computes on: x, with pre-norm LayerNorm(x)."""
        return norm.forward(x) if self.pre else x

    def add_and_norm(self, x: Array, y: Array, norm: LayerNorm, dropout: Dropout) -> Array:
        """Close the residual connection: x + Dropout(y), with post-norm LayerNorm of it. Overwrites y."""
        dropout.forward(y, out=y)
        y += x
        return y if self.pre else norm.forward(y)

    def add_and_norm_backward(self, dy: Array, norm: LayerNorm, dropout: Dropout) -> tuple[Array, Array]:
        """Return the gradients of the sum and of the sub-layer's output."""
        dsum = dy if self.pre else norm.backward(dy)
        return dsum, dropout.backward(dsum)

    def sublayer_input_backward(self, dx: Array, dsum: Array, norm: LayerNorm) -> Array:
        """Return the gradient of x from those of the sub-layer's input and of the sum."""
        if self.pre:
            dx = norm.backward(dx)
        dx += dsum
        return dx


class EncoderLayer(ResidualBlock):
    """Self-attention, then a feed-forward network.   (section 3.1, Figure 1, left)

    Shapes: x, y (batch, time, d_model). Backward: the sub-layers in reverse order.
    """

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
        super().__init__(norm)
        rng = rng or new_rng(0)
        self.self_attn = MultiHeadAttention(d_model, n_heads, dropout, rng=rng, dtype=dtype)
        self.feed_forward = PositionwiseFeedForward(d_model, d_ff, dropout, rng=rng, dtype=dtype)
        self.norm1, self.norm2 = (LayerNorm(d_model, dtype=dtype) for _ in range(2))
        self.dropout1, self.dropout2 = (Dropout(dropout, rng=rng) for _ in range(2))

    def forward(self, x: Array, mask: Array | None = None, intermediates: Intermediates | None = None) -> Array:
        """Map (batch, time, d_model) to the same shape. mask: True = may attend, (batch, heads, time, time)."""
        y = self.self_attn.forward(self.sublayer_input(x, self.norm1), None, mask, intermediates)
        x = self.add_and_norm(x, y, self.norm1, self.dropout1)
        y = self.feed_forward.forward(self.sublayer_input(x, self.norm2))
        return self.add_and_norm(x, y, self.norm2, self.dropout2)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y to that of x, both (batch, time, d_model)."""
        dsum, dsub = self.add_and_norm_backward(dy, self.norm2, self.dropout2)
        dy = self.sublayer_input_backward(self.feed_forward.backward(dsub), dsum, self.norm2)
        dsum, dsub = self.add_and_norm_backward(dy, self.norm1, self.dropout1)
        return self.sublayer_input_backward(self.self_attn.backward(dsub)[0], dsum, self.norm1)


class DecoderLayer(ResidualBlock):
    """Causal self-attention, cross-attention to the memory, a feed-forward network.   (section 3.1, Figure 1, right)

    Shapes: x, y (batch, target, d_model); memory (batch, source, d_model). Backward: the sub-layers in reverse order.
    """

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
        super().__init__(norm)
        rng = rng or new_rng(0)
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
        intermediates: Intermediates | None = None,
    ) -> Array:
        """Map x (batch, target, d_model), given memory (batch, source, d_model), to the shape of x."""
        y = self.self_attn.forward(self.sublayer_input(x, self.norm1), None, mask, intermediates)
        x = self.add_and_norm(x, y, self.norm1, self.dropout1)
        y = self.multihead_attn.forward(self.sublayer_input(x, self.norm2), memory, memory_mask, intermediates)
        x = self.add_and_norm(x, y, self.norm2, self.dropout2)
        y = self.feed_forward.forward(self.sublayer_input(x, self.norm3))
        return self.add_and_norm(x, y, self.norm3, self.dropout3)

    def backward(self, dy: Array) -> tuple[Array, Array]:
        """Map the gradient of y to those of x and of memory."""
        dsum, dsub = self.add_and_norm_backward(dy, self.norm3, self.dropout3)
        dy = self.sublayer_input_backward(self.feed_forward.backward(dsub), dsum, self.norm3)
        dsum, dsub = self.add_and_norm_backward(dy, self.norm2, self.dropout2)
        dquery, dmemory = self.multihead_attn.backward(dsub)
        assert dmemory is not None
        dy = self.sublayer_input_backward(dquery, dsum, self.norm2)
        dsum, dsub = self.add_and_norm_backward(dy, self.norm1, self.dropout1)
        return self.sublayer_input_backward(self.self_attn.backward(dsub)[0], dsum, self.norm1), dmemory


class Encoder(Module):
    """A stack of encoder layers and, where configured, a final LayerNorm."""

    def __init__(self, layers: list[EncoderLayer], norm: LayerNorm | None) -> None:
        super().__init__()
        self.layers, self.norm = layers, norm

    def forward(self, x: Array, mask: Array | None, intermediates: Intermediates | None = None) -> Array:
        """Map (batch, source, d_model) to the memory, of the same shape."""
        for layer in self.layers:
            x = layer.forward(x, mask, intermediates)
        return x if self.norm is None else self.norm.forward(x)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of the memory to that of x."""
        if self.norm is not None:
            dy = self.norm.backward(dy)
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy


class Decoder(Module):
    """A stack of decoder layers and, where configured, a final LayerNorm.

    All layers attend to one memory, so its gradients from all layers add up.
    """

    def __init__(self, layers: list[DecoderLayer], norm: LayerNorm | None) -> None:
        super().__init__()
        self.layers, self.norm = layers, norm

    def forward(
        self,
        x: Array,
        memory: Array,
        mask: Array | None,
        memory_mask: Array | None,
        intermediates: Intermediates | None = None,
    ) -> Array:
        """Map x (batch, target, d_model), given memory (batch, source, d_model), to the shape of x."""
        for layer in self.layers:
            x = layer.forward(x, memory, mask, memory_mask, intermediates)
        return x if self.norm is None else self.norm.forward(x)

    def backward(self, dy: Array) -> tuple[Array, Array]:
        """Map the gradient of y to those of x and of memory."""
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
