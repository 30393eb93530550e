"""Decoding: greedy, sampling, and beam search with the paper's length penalty, each with a key/value cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from attention_numpy.attention import KeyValueCache
from attention_numpy.functional import log_softmax
from attention_numpy.layer import Array
from attention_numpy.layers import Rng, new_rng

if TYPE_CHECKING:
    from attention_numpy.model import DecoderLayer, Transformer


class DecodingState:
    """A batch being decoded: for each layer its keys and values so far, and those of the memory.

    `step(ids)` takes one id a sequence and gives the logits of the next, (batch, V): the same numbers as the last
    row of `model.decode` on the whole prefix, without computing the prefix again.
    """

    def __init__(self, model: Transformer, src: Array, max_length: int) -> None:
        self.model, self.position = model, 0
        memory = model.encode(src)
        real = src != model.config.pad
        self.memory_mask = None if real.all() else real[:, None, None, :]
        layers = model.decoder.layers
        self.own = [layer.self_attn.new_cache(len(src), max_length) for layer in layers]
        self.cross = [layer.multihead_attn.cache_of(memory) for layer in layers]

    def step(self, ids: Array) -> Array:
        """(batch,) ids at the present position -> logits (batch, V) of the next."""
        model = self.model
        x = model.position.forward(model.tgt_embed.forward(ids[:, None]), start=self.position)
        for layer, own, cross in zip(model.decoder.layers, self.own, self.cross, strict=True):
            x = layer_step(layer, x, own, cross, self.memory_mask)
        if model.decoder.norm is not None:
            x = model.decoder.norm.forward(x)
        self.position += 1
        logits: Array = model.generator.forward(x)[:, 0]
        logits[:, model.config.pad] = -np.inf  # padding is no word
        return logits

    def select(self, rows: Array) -> None:
        """Go on with these sequences of the batch, in this order; one may come twice."""
        self.own = [cache.select(rows) for cache in self.own]
        self.cross = [cache.select(rows) for cache in self.cross]
        self.memory_mask = None if self.memory_mask is None else self.memory_mask[rows]


def layer_step(layer: DecoderLayer, x: Array, own: KeyValueCache, cross: KeyValueCache, mask: Array | None) -> Array:
    """A decoder layer at one new position, (batch, 1, d_model)."""
    x = layer.around(x, lambda y: layer.self_attn.step(y, own), layer.norm1, layer.dropout1)
    attend = layer.multihead_attn
    x = layer.around(x, lambda y: attend.step(y, cross, mask, cross=True), layer.norm2, layer.dropout2)
    return layer.around(x, layer.feed_forward.forward, layer.norm3, layer.dropout3)


def generate(
    model: Transformer,
    src: npt.ArrayLike,
    *,
    bos: int = 1,
    eos: int = 2,
    max_length: int = 64,
    beam: int = 1,
    length_penalty: float = 0.6,
    temperature: float | None = None,
    top_k: int | None = None,
    seed: int = 0,
) -> list[list[int]]:
    """The target of each source, without `bos` and `eos`, at most `max_length` ids with the `eos`.

    beam = 1 is greedy; beam > 1 is beam search by log P(y) / ((5 + |y|) / 6)^length_penalty (section 6.1, which refers
    to 1609.08144, Eq. (14)). A temperature draws each id instead, from the `top_k` likeliest if that is given.
    Padding is never generated. The model's mode is left as it was.
    """
    src = np.asarray(src)
    for name, value in (("bos", bos), ("eos", eos)):
        if not 0 <= value < model.config.tgt_vocab:
            raise ValueError(f"{name}: id {value} met, the vocabulary has ids 0 to {model.config.tgt_vocab - 1}")
    for name, value in (("max_length", max_length), ("beam", beam), ("top_k", 1 if top_k is None else top_k)):
        if value < 1:
            raise ValueError(f"{name}: {value} met, at least 1 is needed")
    if temperature is not None and not temperature > 0:
        raise ValueError(f"temperature: {temperature} met, a number above 0 is needed (none at all is greedy)")
    if temperature is not None and beam > 1:
        raise ValueError("beam: a beam does not sample; give beam or temperature, not both")
    was_training = model.training
    model.eval()
    try:
        state = DecodingState(model, src, max_length)
        if beam > 1:
            return beam_search(state, len(src), bos, eos, max_length, beam, length_penalty)
        return one_by_one(state, len(src), bos, eos, max_length, temperature, top_k, new_rng(seed))
    finally:
        model.train(was_training)


def one_by_one(
    state: DecodingState,
    batch: int,
    bos: int,
    eos: int,
    max_length: int,
    temperature: float | None,
    top_k: int | None,
    rng: Rng,
) -> list[list[int]]:
    """Greedy decoding or sampling: one id at a time; a sequence that ended leaves the batch."""
    outputs: list[list[int]] = [[] for _ in range(batch)]
    live, ids = np.arange(batch), np.full(batch, bos)
    for _ in range(max_length):
        logits = state.step(ids)
        ids = logits.argmax(-1) if temperature is None else sample(logits, temperature, top_k, rng)
        going = ids != eos
        if not going.all():
            live, ids = live[going], ids[going]
            if len(live) == 0:
                break
            state.select(np.flatnonzero(going))
        for row, token in zip(live.tolist(), ids.tolist(), strict=True):
            outputs[row].append(token)
    return outputs


def sample(logits: Array, temperature: float, top_k: int | None, rng: Rng) -> Array:
    """One id a row from softmax(logits / temperature), among the `top_k` likeliest.

    The maximum of logits plus Gumbel noise is distributed as the softmax (Gumbel 1954): no normalisation is needed.
    """
    if top_k is not None and top_k < logits.shape[-1]:
        least = np.partition(logits, -top_k, axis=-1)[:, -top_k, None]
        logits = np.where(logits < least, -np.inf, logits)
    chosen: Array = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(-1)
    return chosen


def penalty(length: int, alpha: float) -> float:
    """lp(Y) = ((5 + |Y|) / 6)^alpha   — 1609.08144, Eq. (14); |Y| counts the end-of-sequence id."""
    return float(((5 + length) / 6) ** alpha)


def beam_search(
    state: DecodingState, batch: int, bos: int, eos: int, max_length: int, beam: int, alpha: float
) -> list[list[int]]:
    """Keep the `beam` likeliest prefixes of each source; a finished one leaves its place in the beam.

    So beam = 1 is greedy, and a beam as large as the set of all sequences is an exhaustive search. Prefixes that reach
    `max_length` compete as they are.
    """
    rows = np.repeat(np.arange(batch), beam)
    state.select(rows)
    tokens = np.empty((batch * beam, 0), np.intp)
    scores = np.full((batch, beam), -np.inf)  # at first all prefixes are alike: only the first one counts
    scores[:, 0] = 0
    room = np.full(batch, beam)
    best: list[tuple[float, list[int]]] = [(-np.inf, []) for _ in range(batch)]
    ids = np.full(batch * beam, bos)

    def finish(row: int, score: float, ended: list[int], length: int) -> None:
        best[row] = max(best[row], (score / penalty(length, alpha), ended), key=lambda found: found[0])

    for length in range(1, max_length + 1):
        logp = log_softmax(state.step(ids).astype(np.float64))
        vocab = logp.shape[-1]
        total = (scores.reshape(-1, 1) + logp).reshape(batch, beam * vocab)
        order = np.argsort(-total, axis=1, kind="stable")[:, :beam]
        scores = np.take_along_axis(total, order, 1)
        scores[np.arange(beam) >= room[:, None]] = -np.inf
        parents = (order // vocab + np.arange(batch)[:, None] * beam).reshape(-1)
        ids = (order % vocab).reshape(-1)
        tokens = np.concatenate([tokens[parents], ids[:, None]], axis=1)
        flat = scores.reshape(-1)
        for place in np.flatnonzero((ids == eos) & (flat > -np.inf)).tolist():
            finish(place // beam, float(flat[place]), tokens[place, :-1].tolist(), length)
            room[place // beam] -= 1
            flat[place] = -np.inf
        if not (flat > -np.inf).any():
            break
        if length < max_length:
            state.select(parents)
    for place in np.flatnonzero(flat > -np.inf).tolist():
        finish(place // beam, float(flat[place]), tokens[place].tolist(), tokens.shape[1])
    return [found for _, found in best]
