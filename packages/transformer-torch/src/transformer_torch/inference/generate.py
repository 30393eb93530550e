"""Greedy decoding and beam search (section 6.1).

Axes: n (sentences still searched), K (beam size), time (tokens so far).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_torch._common.errors import check_choice, check_integer, check_not_negative, invalid
from transformer_torch.inference.cache import KVCache
from transformer_torch.model import Transformer

LengthNorm = Literal["gnmt", "power"]
Stop = Literal["exact", "heuristic"]
Hypothesis = tuple[list[int], float]
NEG_INF = -1e9  # the score of what must not be chosen; finite, so that sums of it stay numbers


def length_norm_of(
    length: Float[Tensor, "*n"] | Int[Tensor, "*n"], alpha: float, rule: LengthNorm
) -> Float[Tensor, "*n"]:
    """Return the divisor of the log-probability of a hypothesis of `length` tokens, its end token included.

    gnmt: ((5 + length) / 6)^alpha, 1609.08144, Eq. (14), which the paper uses; power: length^alpha, Hugging Face's.
    """
    return ((5.0 + length) / 6.0 if rule == "gnmt" else length * 1.0) ** alpha


def fast_topk(logits: Float[Tensor, "rows vocab"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """Return the k largest values of each row and their columns, as `topk` does in three times the time.

    They are in the k blocks of columns with the greatest maxima, and maxima are found quickly.
    """
    width = 64
    blocks = logits.size(1) // width
    if blocks < 2 * k:
        return logits.topk(k, -1)
    end = blocks * width
    chosen = logits[:, :end].unflatten(1, (blocks, width)).amax(-1).topk(k, -1).indices
    columns = (chosen[:, :, None] * width + torch.arange(width, device=logits.device)).flatten(1)
    rest = torch.arange(end, logits.size(1), device=logits.device).expand(len(logits), -1)
    columns = torch.cat([columns, rest], 1)
    best, at = logits.gather(1, columns).topk(k, -1)
    return best, columns.gather(1, at)


def topk_logprobs(
    logits: Float[Tensor, "rows vocab"], k: int, forbidden: list[int]
) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """Return the k largest log-probabilities of each row and their columns, `forbidden` columns excepted.

    The forbidden columns keep their part of the probability mass, as in Hugging Face's generate. Works on 32 rows at
    a time, which stay in the processor's cache. Modifies `logits` in place.
    """
    log_p, columns = [], []
    for rows in logits.split(32):
        rows = rows.float()
        held_back = rows[:, forbidden]
        rows[:, forbidden] = NEG_INF
        best, ids = fast_topk(rows, k)
        top = torch.cat([best[:, :1], held_back], 1).amax(-1, keepdim=True)
        total = rows.sub_(top).exp_().sum(-1, keepdim=True) + (held_back - top).exp().sum(-1, keepdim=True)
        log_p.append(best - top - total.log())
        columns.append(ids)
    return torch.cat(log_p), torch.cat(columns)


def length_limits(
    model: Transformer, src: Int[Tensor, "sentences source"], max_extra_tokens: int
) -> Int[Tensor, " sentences"]:
    """Return the maximum output length of each sentence, end token included: source tokens + extra (section 6.1)."""
    limits = (src != model.config.pad_id).sum(-1) + max_extra_tokens
    return limits.clamp(max=model.config.max_length) if model.config.positions == "learned" else limits


def decoding_copy(model: Transformer) -> Transformer:
    """Return the model with its decoder weights stored as the matmuls of a few rows read them fastest: (in, out).

    The same modules with the same values; only the strides differ. A quarter faster on a CPU. The encoder and the
    embeddings are shared with `model`.
    """
    copied = copy.copy(model)
    copied._modules = dict(model._modules)
    decoder = copied.decoder = copy.deepcopy(model.decoder)
    for module in decoder.modules():
        if isinstance(module, nn.Linear):
            module.weight.data = module.weight.data.t().contiguous().t()
    copied.output_weight = model.embedding.weight.detach().t().contiguous().t()
    return copied.eval()


def _checked(model: Transformer, src: Tensor, bos_id: int, eos_id: int, max_extra_tokens: int) -> list[int]:
    """Check the arguments of a search; return the ids that must not be generated: padding and begin of sentence."""
    vocab_size = model.config.vocab_size
    check_integer("bos_id", bos_id, 0, vocab_size - 1)
    check_integer("eos_id", eos_id, 0, vocab_size - 1)
    check_integer("max_extra_tokens", max_extra_tokens, 1)
    if src.numel() and not 0 <= int(src.min()) <= int(src.max()) < vocab_size:
        outside = int(src.max()) if int(src.max()) >= vocab_size else int(src.min())
        raise invalid("src", f"hold ids from 0 to {vocab_size - 1}", outside)
    return sorted({model.config.pad_id, bos_id} - {eos_id})


def _start(model: Transformer, src: Tensor) -> tuple[Transformer, KVCache]:
    memory, mask = model.encode(src)
    fast = decoding_copy(model) if src.device.type == "cpu" else model
    return fast, fast.start_cache(memory, None if bool(mask.all()) else mask)


@torch.inference_mode()
def greedy_decode(
    model: Transformer,
    src: Int[Tensor, "sentences source"],
    bos_id: int = 1,
    eos_id: int = 2,
    max_extra_tokens: int = 50,
) -> list[list[int]]:
    """Return the most probable token at every step, up to the end token or the source's length + max_extra_tokens.

    The ids of each sentence come without bos_id and eos_id. Padding and bos_id are never generated.
    """
    forbidden = _checked(model, src, bos_id, eos_id, max_extra_tokens)
    if not len(src):
        return []
    limits = length_limits(model, src, max_extra_tokens)
    fast, cache = _start(model, src)
    outputs: list[list[int]] = [[] for _ in src]
    alive = torch.arange(len(src), device=src.device)
    tokens = torch.full_like(alive, bos_id)
    while len(alive):
        logits = fast.project(fast.decode_cached(tokens[:, None], cache)[:, -1])
        logits[:, forbidden] = NEG_INF
        tokens = fast_topk(logits, 1)[1][:, 0]
        for sentence, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            if token != eos_id:
                outputs[sentence].append(token)
        unfinished = (tokens != eos_id) & (limits[alive] > cache.length)
        if not bool(unfinished.all()):
            kept = unfinished.nonzero()[:, 0]
            alive, tokens = alive[kept], tokens[kept]
            cache.reorder(kept, kept)
    return outputs


@dataclass
class _Search:
    """The state of a beam search: K unfinished and at most K finished hypotheses of each sentence."""

    sentences: Int[Tensor, " n"]
    limits: Int[Tensor, " n"]
    alive: Int[Tensor, "n K time"]
    log_p: Float[Tensor, "n K"]
    finished: list[list[Hypothesis]] = field(default_factory=list)  # of every sentence, best first

    def keep(self, kept: Int[Tensor, " m"]) -> None:
        """Continue with some of the sentences."""
        for name in ("sentences", "limits", "alive", "log_p"):
            setattr(self, name, getattr(self, name)[kept])


@dataclass(frozen=True)
class _Rules:
    """The settings of a beam search."""

    eos_id: int
    forbidden: list[int]
    beam_size: int
    alpha: float
    norm: LengthNorm
    stop: Stop

    def scores(self, log_p: Tensor, length: Tensor | float) -> Tensor:
        """Return length-normalized log-probabilities."""
        return log_p / length_norm_of(torch.as_tensor(length, device=log_p.device), self.alpha, self.norm)


@torch.inference_mode()
def beam_search(
    model: Transformer,
    src: Int[Tensor, "sentences source"],
    bos_id: int = 1,
    eos_id: int = 2,
    beam_size: int = 4,
    length_alpha: float = 0.6,
    length_norm: LengthNorm = "gnmt",
    stop: Stop = "heuristic",
    max_extra_tokens: int = 50,
) -> list[list[Hypothesis]]:
    """Return up to `beam_size` hypotheses of each sentence, best first: ids without bos_id and eos_id, and scores.

    A score is the log-probability divided by the length norm. Of the 2K best continuations, those that end and are
    among the best K join the K best finished hypotheses, and the K best of the others stay alive: the rule of fairseq
    and Hugging Face. A sentence is done when K are finished and no alive candidate can beat the worst of them, judged
    by its present length (stop="heuristic") or by any length it may reach ("exact"). At the maximum length, source +
    max_extra_tokens (section 6.1), hypotheses end without an end token. Padding and bos_id are never generated.
    """
    forbidden = _checked(model, src, bos_id, eos_id, max_extra_tokens)
    check_integer("beam_size", beam_size, 1)
    check_not_negative("length_alpha", length_alpha)
    check_choice("length_norm", length_norm, ("gnmt", "power"))
    check_choice("stop", stop, ("exact", "heuristic"))
    n = len(src)
    if not n:
        return []
    rules = _Rules(eos_id, forbidden, beam_size, length_alpha, length_norm, stop)
    fast, cache = _start(model, src)
    log_p = torch.full((n, beam_size), NEG_INF, device=src.device)
    log_p[:, 0] = 0.0  # at the start all beams are equal: only the first may branch
    start = torch.full((n, beam_size, 1), bos_id, dtype=torch.long, device=src.device)
    search = _Search(
        torch.arange(n, device=src.device), length_limits(model, src, max_extra_tokens), start, log_p, [[] for _ in src]
    )
    while len(search.sentences):
        logits = fast.project(fast.decode_cached(search.alive[:, :, -1].reshape(-1, 1), cache)[:, -1])
        parents = _grow(search, logits, cache.length, rules)
        done = _done(search, cache.length, rules)
        rows = torch.arange(len(parents), device=src.device)[:, None] * beam_size + parents
        if bool(done.any()):
            kept = (~done).nonzero()[:, 0]
            search.keep(kept)
            cache.reorder(rows[kept].flatten(), kept)
        elif not bool((rows.flatten() == torch.arange(rows.numel(), device=src.device)).all()):
            cache.reorder(rows.flatten())
    return search.finished


def _grow(search: _Search, logits: Tensor, time: int, rules: _Rules) -> Int[Tensor, "n K"]:
    """Add one token to each hypothesis; return the index of each alive one's parent beam."""
    n, beam_size = len(search.sentences), rules.beam_size
    # only the 2K best of each beam can be among the 2K best of all: no softmax over the vocabulary is stored
    most = min(2 * beam_size, logits.size(-1))
    best, ids = topk_logprobs(logits, most, rules.forbidden)
    log_p = (search.log_p.flatten()[:, None] + best).view(n, -1)
    top, chosen = log_p.topk(min(2 * beam_size, log_p.size(1)))
    parents, tokens = chosen // most, ids.view(n, -1).gather(1, chosen)
    ends = tokens == rules.eos_id

    scores = rules.scores(top, float(time))
    finishes = (ends | (search.limits <= time)[:, None]) & (top > NEG_INF / 2)
    for i, rank in finishes[:, :beam_size].nonzero().tolist():
        last = [] if bool(ends[i, rank]) else [int(tokens[i, rank])]
        pool = search.finished[int(search.sentences[i])]
        pool.append((search.alive[i, parents[i, rank], 1:].tolist() + last, float(scores[i, rank])))
        pool.sort(key=lambda h: -h[1])
        del pool[beam_size:]

    candidates, order = top.masked_fill(ends, NEG_INF).topk(beam_size)
    parents = parents.gather(1, order)
    search.log_p = candidates
    before = search.alive.gather(1, parents[:, :, None].expand(-1, -1, search.alive.size(2)))
    search.alive = torch.cat([before, tokens.gather(1, order)[:, :, None]], -1)
    return parents


def _done(search: _Search, time: int, rules: _Rules) -> Tensor:
    """Return which sentences are finished: no candidate can enter the pool, or the maximum length is reached."""
    reached = search.limits if rules.stop == "exact" else torch.full_like(search.limits, time)
    candidates = rules.scores(search.log_p[:, 0], reached).tolist()
    done = []
    for sentence, limit, candidate in zip(search.sentences.tolist(), search.limits.tolist(), candidates, strict=True):
        pool = search.finished[sentence]
        done.append(time >= limit or (len(pool) == rules.beam_size and pool[-1][1] >= candidate))
    return torch.tensor(done, device=search.limits.device)
