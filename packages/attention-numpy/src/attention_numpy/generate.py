"""Decoding: greedy, sampling, and beam search with length normalization, each with a key/value cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from attention_numpy._common.errors import check_choice, check_integer, check_not_negative, invalid, is_real
from attention_numpy.cache import KVCache
from attention_numpy.checks import check_ids
from attention_numpy.functional import log_softmax
from attention_numpy.layers import Rng, new_rng
from attention_numpy.model import as_batch
from attention_numpy.module import Array

if TYPE_CHECKING:
    from attention_numpy.blocks import DecoderLayer, EncoderLayer
    from attention_numpy.language_model import LanguageModel
    from attention_numpy.model import Transformer

LengthNorm = Literal["gnmt", "power"]
LENGTH_NORMS = ("gnmt", "power")


class DecoderState:
    """A batch that is being decoded: for each layer its keys and values so far, and those of the memory.

    `step(ids)` takes one id per sequence and returns the logits of the next, (batch, vocab): the same numbers as the
    last row of `model.decode` on the whole prefix, without computing the prefix again.
    """

    def __init__(self, model: Transformer, src: Array, bos_id: int, eos_id: int) -> None:
        self.model, self.position = model, 0
        # never generated: padding, and the id that only starts a sequence
        self.banned = [i for i in {model.config.pad_id, bos_id} if i != eos_id]
        memory = model.encode(src)
        real = src != model.config.pad_id
        self.memory_mask = None if real.all() else real[:, None, None, :]
        self.self_caches = [layer.self_attn.new_cache(len(src)) for layer in model.decoder.layers]
        self.cross_caches = [layer.multihead_attn.cache_of(memory) for layer in model.decoder.layers]

    def step(self, ids: Array) -> Array:
        """Take the ids (batch,) at the present position, return the logits (batch, vocab) of the next."""
        model = self.model
        x = model.position.forward(model.tgt_embed.forward(ids[:, None]), start=self.position)  # (batch, 1, d_model)
        for layer, own, cross in zip(model.decoder.layers, self.self_caches, self.cross_caches, strict=True):
            x = decoder_layer_step(layer, x, own, cross, self.memory_mask)
        if model.decoder.norm is not None:
            x = model.decoder.norm.forward(x)
        self.position += 1
        logits: Array = model.generator.forward(x)[:, 0]
        logits[:, self.banned] = -np.inf
        return logits

    def reorder(self, rows: Array) -> None:
        """Continue with these sequences of the batch, in this order; a row may occur twice."""
        for cache in [*self.self_caches, *self.cross_caches]:
            cache.reorder(rows)
        self.memory_mask = None if self.memory_mask is None else self.memory_mask[rows]


def decoder_layer_step(layer: DecoderLayer, x: Array, own: KVCache, cross: KVCache, memory_mask: Array | None) -> Array:
    """Run a decoder layer on one new position, (batch, 1, d_model)."""
    y = layer.self_attn.step(layer.sublayer_input(x, layer.norm1), own)
    x = layer.add_and_norm(x, y, layer.norm1, layer.dropout1)
    y = layer.multihead_attn.step(layer.sublayer_input(x, layer.norm2), cross, memory_mask, cross=True)
    x = layer.add_and_norm(x, y, layer.norm2, layer.dropout2)
    y = layer.feed_forward.forward(layer.sublayer_input(x, layer.norm3))
    return layer.add_and_norm(x, y, layer.norm3, layer.dropout3)


def encoder_layer_step(layer: EncoderLayer, x: Array, own: KVCache) -> Array:
    """Run a layer of a language model on one new position, (batch, 1, d_model)."""
    y = layer.self_attn.step(layer.sublayer_input(x, layer.norm1), own)
    x = layer.add_and_norm(x, y, layer.norm1, layer.dropout1)
    y = layer.feed_forward.forward(layer.sublayer_input(x, layer.norm2))
    return layer.add_and_norm(x, y, layer.norm2, layer.dropout2)


def check_sampling(max_new_tokens: Any, temperature: Any, top_k: Any, generator: Any) -> None:
    """Raise ValueError for options of sampling that are out of range or have no effect."""
    check_integer("max_new_tokens", max_new_tokens, 1)
    check_not_negative("temperature", temperature)
    if top_k is not None:
        check_integer("top_k", top_k, 1)
        if temperature == 0:
            raise invalid("top_k", "be None with `temperature` = 0, which is greedy", top_k)
    if generator is not None and not isinstance(generator, np.random.Generator):
        raise invalid("generator", "be a numpy.random.Generator", generator)


def generate(
    model: Transformer,
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
    """Return the target ids of each source, without `bos_id` and `eos_id`.

    max_new_tokens: maximum number of ids per source, the end-of-sequence id included.
    beam_size: 1 is greedy; more is beam search by log P(y) / norm(|y|) (section 6.1, which refers to 1609.08144, Eq.
    14).
    length_norm, length_alpha: the norm of the beam search, see the function `length_norm`.
    temperature: 0 is greedy; above 0 every id is sampled from softmax(logits / temperature).
    top_k: sample from the k most probable ids only. generator: random generator; None: one with seed 0.
    Padding and `bos_id` are never generated. The model's mode is left as it was.
    Raises: ValueError for an option that is out of range or has no effect.
    """
    config = model.config
    src = as_batch("src", src, config.src_vocab_size)
    check_integer("bos_id", bos_id, 0, config.tgt_vocab_size - 1)
    check_integer("eos_id", eos_id, 0, config.tgt_vocab_size - 1)
    check_sampling(max_new_tokens, temperature, top_k, generator)
    check_integer("beam_size", beam_size, 1)
    check_choice("length_norm", length_norm, LENGTH_NORMS)
    if not is_real(length_alpha):
        raise invalid("length_alpha", "be a finite number", length_alpha)
    if temperature > 0 and beam_size > 1:
        raise invalid("beam_size", "be 1 with a temperature, because a beam search does not sample", beam_size)
    was_training = model.training
    model.eval()
    try:
        state = DecoderState(model, src, bos_id, eos_id)
        if beam_size > 1:
            return beam_search(
                state, len(src), bos_id, eos_id, max_new_tokens, beam_size, alpha=length_alpha, rule=length_norm
            )
        rng = generator or new_rng(0)
        return greedy_decode(state, len(src), bos_id, eos_id, max_new_tokens, temperature, top_k, rng)
    finally:
        model.train(was_training)


def greedy_decode(
    state: DecoderState,
    batch: int,
    bos_id: int,
    eos_id: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: Rng | None = None,
) -> list[list[int]]:
    """Take the most probable id at each step, or with a temperature a sampled one.

    Finished sequences leave the batch.
    """
    rng = generator or new_rng(0)
    outputs: list[list[int]] = [[] for _ in range(batch)]
    live, ids = np.arange(batch), np.full(batch, bos_id)
    for _ in range(max_new_tokens):
        ids = sample_next(state.step(ids), temperature, top_k, rng)
        unfinished = ids != eos_id
        if not unfinished.all():
            live, ids = live[unfinished], ids[unfinished]
            if len(live) == 0:
                break
            state.reorder(np.flatnonzero(unfinished))
        for row, token in zip(live.tolist(), ids.tolist(), strict=True):
            outputs[row].append(token)
    return outputs


def sample_next(logits: Array, temperature: float, top_k: int | None, generator: Rng) -> Array:
    """Sample one id per row from softmax(logits / temperature); temperature 0 takes the argmax.

    top_k: sample among the k most probable ids. The maximum of logits plus Gumbel noise is distributed as the softmax
    (Gumbel 1954), so no normalization is needed.
    """
    if temperature == 0:
        greedy: Array = logits.argmax(-1)
        return greedy
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)  # 0 at the maximum: right for any temperature
    if top_k is not None and top_k < logits.shape[-1]:
        kept = np.argpartition(shifted, -top_k, axis=-1)[:, -top_k:]  # exactly k, also where logits are equal
        top = np.full_like(shifted, -np.inf)
        np.put_along_axis(top, kept, np.take_along_axis(shifted, kept, -1), -1)
        shifted = top
    with np.errstate(over="ignore"):
        scaled = shifted / temperature
    chosen: Array = (scaled + generator.gumbel(size=logits.shape)).argmax(-1)
    return chosen


def length_norm(length: int, alpha: float, rule: LengthNorm = "gnmt") -> float:
    """Return the divisor of a hypothesis's log-probability; `length` counts the end-of-sequence id.

    gnmt: ((5 + length) / 6)^alpha (1609.08144, Eq. 14). power: length^alpha, as in fairseq. alpha = 0 turns it off.

    >>> length_norm(7, 1.0), length_norm(7, 1.0, "power")
    (2.0, 7.0)
    """
    return float(((5 + length) / 6) ** alpha if rule == "gnmt" else length**alpha)


def beam_search(
    state: DecoderState,
    batch: int,
    bos_id: int,
    eos_id: int,
    max_new_tokens: int,
    beam_size: int,
    *,
    alpha: float = 0.6,
    rule: LengthNorm = "gnmt",
) -> list[list[int]]:
    """Keep the `beam_size` most probable prefixes of each source; a finished one leaves its slot empty.

    So a beam of 1 is greedy decoding, and a beam as large as the set of all sequences is an exhaustive search. Prefixes
    that reach `max_new_tokens` compete as they are.
    """
    rows = np.repeat(np.arange(batch), beam_size)
    state.reorder(rows)
    tokens = np.empty((batch * beam_size, 0), np.intp)
    scores = np.full((batch, beam_size), -np.inf)  # at first all prefixes are equal: only the first one counts
    scores[:, 0] = 0
    open_slots = np.full(batch, beam_size)
    best: list[tuple[float, list[int]]] = [(-np.inf, []) for _ in range(batch)]
    ids = np.full(batch * beam_size, bos_id)

    def finish(row: int, score: float, hypothesis: list[int], length: int) -> None:
        candidate = (score / length_norm(length, alpha, rule), hypothesis)
        best[row] = max(best[row], candidate, key=lambda found: found[0])

    for length in range(1, max_new_tokens + 1):
        logp = log_softmax(state.step(ids).astype(np.float64))  # (batch * beam, vocab)
        vocab = logp.shape[-1]
        total = (scores.reshape(-1, 1) + logp).reshape(batch, beam_size * vocab)
        order = np.argsort(-total, axis=1, kind="stable")[:, :beam_size]
        scores = np.take_along_axis(total, order, 1)
        scores[np.arange(beam_size) >= open_slots[:, None]] = -np.inf
        parents = (order // vocab + np.arange(batch)[:, None] * beam_size).reshape(-1)
        ids = (order % vocab).reshape(-1)
        tokens = np.concatenate([tokens[parents], ids[:, None]], axis=1)
        flat = scores.reshape(-1)
        for slot in np.flatnonzero((ids == eos_id) & (flat > -np.inf)).tolist():
            finish(slot // beam_size, float(flat[slot]), tokens[slot, :-1].tolist(), length)
            open_slots[slot // beam_size] -= 1
            flat[slot] = -np.inf
        if not (flat > -np.inf).any():
            break
        if length < max_new_tokens:
            state.reorder(parents)
    for slot in np.flatnonzero(flat > -np.inf).tolist():
        finish(slot // beam_size, float(flat[slot]), tokens[slot].tolist(), tokens.shape[1])
    return [hypothesis for _, hypothesis in best]


def stream_tokens(
    model: LanguageModel,
    prompt: npt.ArrayLike,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: np.random.Generator | None = None,
) -> Iterator[int]:
    """Yield `max_new_tokens` ids that continue the prompt, each as soon as it is computed.

    prompt: at least one id. temperature: 0 is greedy. top_k: sample from the k most probable ids only. generator:
    random generator; None: one with seed 0. The model's mode is left as it was.
    Raises: ValueError, before the first id, for an option that is out of range.
    """
    ids = np.asarray(prompt)
    if ids.ndim != 1 or not ids.size:
        raise invalid("prompt", "be a list of at least one id", ids.shape if ids.ndim != 1 else prompt)
    check_ids("prompt", ids, model.config.vocab_size)
    check_sampling(max_new_tokens, temperature, top_k, generator)
    return _stream(model, ids.tolist(), max_new_tokens, temperature, top_k, generator or new_rng(0))


def _stream(
    model: LanguageModel, ids: list[int], max_new_tokens: int, temperature: float, top_k: int | None, rng: Rng
) -> Iterator[int]:
    caches = [layer.self_attn.new_cache(1) for layer in model.layers]
    for position in range(len(ids) + max_new_tokens - 1):
        was_training = model.training
        model.eval()
        try:
            x = model.position.forward(model.embed.forward(np.array([[ids[position]]])), start=position)
            for layer, cache in zip(model.layers, caches, strict=True):
                x = encoder_layer_step(layer, x, cache)
            if position + 1 < len(ids):
                continue
            x = x if model.norm is None else model.norm.forward(x)
            ids.append(int(sample_next(model.generator.forward(x)[0], temperature, top_k, rng)[0]))
        finally:
            model.train(was_training)
        yield ids[-1]
