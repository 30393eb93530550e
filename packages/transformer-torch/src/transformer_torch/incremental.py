"""The decoder one token at a time: what was computed for earlier positions is kept, not computed again.

Shapes: rows = sentences * beams, of one sentence next to each other; time = positions so far; h heads.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_torch.attention import scaled_dot_product_attention
from transformer_torch.layers import DecoderLayer
from transformer_torch.model import Transformer


class _Linear:
    """x W + b with W stored as the product reads it, (in, out): a quarter faster for a few dozen rows."""

    def __init__(self, weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"]) -> None:
        self.weight, self.bias = weight.t().contiguous(), bias

    def __call__(self, x: Float[Tensor, "rows 1 in"]) -> Float[Tensor, "rows 1 out"]:
        return torch.addmm(self.bias, x[:, 0], self.weight)[:, None]


class _Layer:
    """A decoder layer with its cache, and with the keys and values of the source, which stay the same."""

    def __init__(self, layer: DecoderLayer, memory: Float[Tensor, "sentences source d_model"]) -> None:
        self.layer = layer
        own, cross, network = layer.self_attention, layer.cross_attention, layer.feed_forward
        width = cross.widths[0]
        self.queries_keys_values = _Linear(own.w_qkv.weight, own.w_qkv.bias)
        self.combine = _Linear(own.w_o.weight, own.w_o.bias)
        self.cross_queries = _Linear(cross.w_qkv.weight[:width], cross.w_qkv.bias[:width])
        self.cross_combine = _Linear(cross.w_o.weight, cross.w_o.bias)
        self.w_1 = _Linear(network.w_1.weight, network.w_1.bias)
        self.w_2 = _Linear(network.w_2.weight, network.w_2.bias)
        keys, values = cross.keys_and_values(memory)
        # (sentences, h, d_k, source) and (sentences, h, source, d_v): laid out once as every step multiplies them
        self.memory_keys_t, self.memory_values = keys.mT.contiguous(), values.contiguous()

    def feed_forward(self, x: Float[Tensor, "rows 1 d_model"]) -> Float[Tensor, "rows 1 d_model"]:
        """Eq. (2)."""
        return self.w_2(self.w_1(x).relu_())


class DecoderState:
    """Keys and values of all layers. `step` equals the last position of `Transformer.decode`.

    The cache of self-attention is laid out time first, (time, rows, h, d): a new position is written as one block,
    and reordering the beams copies only the positions that are filled. Keys and values of the source are held once
    for each sentence: its beams are so many queries of the same memory.
    """

    def __init__(
        self,
        model: Transformer,
        memory: Float[Tensor, "sentences source d_model"],
        memory_mask: Bool[Tensor, "sentences 1 1 source"] | None,
        beams: int,
        max_length: int,
    ) -> None:
        self.model, self.memory_mask, self.beams = model, memory_mask, beams
        self.layers = [_Layer(layer, memory) for layer in model.decoder]  # type: ignore[arg-type]
        self.classes = model.embedding.weight.t().contiguous()
        self.time = 0
        rows, config = len(memory) * beams, model.config
        shape = (max_length, rows, config.n_heads)
        self.keys = [memory.new_empty(*shape, config.key_width) for _ in self.layers]
        self.values = [memory.new_empty(*shape, config.value_width) for _ in self.layers]

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocab"]:
        """Logits after one more token in each row."""
        x = self.model.embed(tokens[:, None], self.time)
        for number, this in enumerate(self.layers):
            x = this.layer.around_self(x, lambda y, number=number: self._self_attention(number, y))
            x = this.layer.around_cross(x, lambda y, number=number: self._cross_attention(number, y))
            x = this.layer.around_feed_forward(x, this.feed_forward)
        self.time += 1
        logits: Tensor = self.model.decoder_norm(x)[:, 0] @ self.classes
        return logits

    def _self_attention(self, number: int, x: Float[Tensor, "rows 1 d_model"]) -> Float[Tensor, "rows 1 d_model"]:
        this = self.layers[number]
        attention = this.layer.self_attention
        q, k, v = this.queries_keys_values(x).split(attention.widths, -1)
        self.keys[number][self.time] = k.view(len(x), attention.n_heads, -1)
        self.values[number][self.time] = v.view(len(x), attention.n_heads, -1)
        seen = slice(0, self.time + 1)
        keys, values = (cache[number][seen].permute(1, 2, 0, 3) for cache in (self.keys, self.values))
        heads, _ = scaled_dot_product_attention(attention.split_heads(q), keys, values)
        return this.combine(heads.reshape(len(x), 1, -1))

    def _cross_attention(self, number: int, x: Float[Tensor, "rows 1 d_model"]) -> Float[Tensor, "rows 1 d_model"]:
        this = self.layers[number]
        q = this.layer.cross_attention.split_heads(
            this.cross_queries(x).view(-1, self.beams, this.layer.cross_attention.widths[0])
        )
        heads, _ = scaled_dot_product_attention(q, this.memory_keys_t.mT, this.memory_values, self.memory_mask)
        return this.cross_combine(heads.transpose(1, 2).reshape(len(x), 1, -1))

    def select(self, rows: Int[Tensor, " kept"], sentences: Int[Tensor, " n"] | None = None) -> None:
        """Go on with these rows, in this order; and with these sentences only, if some are done."""
        if sentences is not None:
            for this in self.layers:
                this.memory_keys_t = this.memory_keys_t[sentences]
                this.memory_values = this.memory_values[sentences]
            self.memory_mask = None if self.memory_mask is None else self.memory_mask[sentences]
        for cache in (self.keys, self.values):
            for number, old in enumerate(cache):
                new = old.new_empty(len(old), len(rows), *old.shape[2:])
                torch.index_select(old[: self.time], 1, rows, out=new[: self.time])
                cache[number] = new


def length_limits(model: Transformer, src: Int[Tensor, "sentences source"], extra: int) -> Int[Tensor, " sentences"]:
    """Longest output of each sentence, its end token included: its own length + extra (section 6.1), padding aside."""
    return ((src != model.config.pad_id).sum(-1) + extra).clamp(max=model.config.max_length)
