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
        self.layers: list[DecoderLayer] = list(model.decoder)  # type: ignore[arg-type]
        self.time = 0
        self.cross = [layer.cross_attention.keys_and_values(memory) for layer in self.layers]
        rows, config = len(memory) * beams, model.config
        shape = (max_length, rows, config.n_heads)
        self.keys = [memory.new_empty(*shape, config.key_width) for _ in self.layers]
        self.values = [memory.new_empty(*shape, config.value_width) for _ in self.layers]

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocab"]:
        """Logits after one more token in each row."""
        x = self.model.embed(tokens[:, None], self.time)
        for number, layer in enumerate(self.layers):
            x = layer.around_self(x, lambda y, number=number: self._self_attention(number, y))
            x = layer.around_cross(x, lambda y, number=number: self._cross_attention(number, y))
            x = layer.around_feed_forward(x, layer.feed_forward)
        self.time += 1
        return self.model.project(self.model.decoder_norm(x)[:, 0])

    def _self_attention(self, number: int, x: Float[Tensor, "rows 1 d_model"]) -> Float[Tensor, "rows 1 d_model"]:
        attention = self.layers[number].self_attention
        q, k, v = attention.queries_keys_and_values(x)
        self.keys[number][self.time] = k[:, :, 0]
        self.values[number][self.time] = v[:, :, 0]
        seen = slice(0, self.time + 1)
        keys, values = (cache[number][seen].permute(1, 2, 0, 3) for cache in (self.keys, self.values))
        return attention.combine(scaled_dot_product_attention(q, keys, values)[0])

    def _cross_attention(self, number: int, x: Float[Tensor, "rows 1 d_model"]) -> Float[Tensor, "rows 1 d_model"]:
        attention = self.layers[number].cross_attention
        q = attention.queries(x.view(-1, self.beams, x.size(-1)))
        return attention.combine(scaled_dot_product_attention(q, *self.cross[number], self.memory_mask)[0]).view_as(x)

    def select(self, rows: Int[Tensor, " kept"], sentences: Int[Tensor, " n"] | None = None) -> None:
        """Go on with these rows, in this order; and with these sentences only, if some are done."""
        if sentences is not None:
            self.cross = [(k[sentences], v[sentences]) for k, v in self.cross]
            self.memory_mask = None if self.memory_mask is None else self.memory_mask[sentences]
        for cache in (self.keys, self.values):
            for number, old in enumerate(cache):
                new = old.new_empty(len(old), len(rows), *old.shape[2:])
                torch.index_select(old[: self.time], 1, rows, out=new[: self.time])
                cache[number] = new


def length_limits(model: Transformer, src: Int[Tensor, "sentences source"], extra: int) -> Int[Tensor, " sentences"]:
    """Longest output of each sentence, its end token included: its own length + extra (section 6.1), padding aside."""
    return ((src != model.config.pad_id).sum(-1) + extra).clamp(max=model.config.max_length)
