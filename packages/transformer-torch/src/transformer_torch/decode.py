"""Greedy and beam search: section 6.1. Shapes: n sentences still searched, K beams, time = tokens so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_torch.incremental import DecoderState, length_limits
from transformer_torch.model import Transformer

LengthPenalty = Literal["gnmt", "power"]
Stop = Literal["exact", "heuristic"]
Hypothesis = tuple[list[int], float]
NEVER = -1e9  # the score of what must not be chosen


def length_penalty_of(
    length: Float[Tensor, "*n"] | Int[Tensor, "*n"], alpha: float, rule: LengthPenalty
) -> Float[Tensor, "*n"]:
    """What the log-probability of a hypothesis of `length` tokens, its end token among them, is divided by.

    gnmt: ((5 + length) / 6)^alpha, 1609.08144, Eq. (14), which the paper uses; power: length^alpha, Hugging Face's.
    """
    return ((5.0 + length) / 6.0 if rule == "gnmt" else length * 1.0) ** alpha


def largest(logits: Float[Tensor, "rows vocab"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """The k largest of each row and their columns, as `topk`, which takes three times as long over thousands.

    They are among the k blocks of columns with the greatest maxima, and maxima are quickly found.
    """
    width = 64
    blocks = logits.size(1) // width
    if blocks < 2 * k:
        return logits.topk(k, -1)
    whole = blocks * width
    chosen = logits[:, :whole].unflatten(1, (blocks, width)).amax(-1).topk(k, -1).indices
    columns = (chosen[:, :, None] * width + torch.arange(width, device=logits.device)).flatten(1)
    rest = torch.arange(whole, logits.size(1), device=logits.device).expand(len(logits), -1)
    columns = torch.cat([columns, rest], 1)
    best, at = logits.gather(1, columns).topk(k, -1)
    return best, columns.gather(1, at)


def most_probable(logits: Float[Tensor, "rows vocab"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """The k largest log-probabilities of each row and their columns; the logits are used up.

    A few rows at a time, which stay in the processor's cache while maxima, exponentials and their sum are taken.
    """
    log_p, columns = [], []
    for rows in logits.split(32):
        rows = rows.float()
        best, ids = largest(rows, k)
        top = best[:, :1]
        log_p.append(best - top - rows.sub_(top).exp_().sum(-1, keepdim=True).log())
        columns.append(ids)
    return torch.cat(log_p), torch.cat(columns)


def _checked(model: Transformer, src: Tensor, bos: int, eos: int, extra: int) -> None:
    for name, token in (("bos", bos), ("eos", eos)):
        if not 0 <= token < model.config.vocab_size:
            raise ValueError(f"{name}: {token} is no id of a vocabulary of {model.config.vocab_size}")
    if src.numel() and int(src.max()) >= model.config.vocab_size:
        raise ValueError(f"src: id {int(src.max())}; this model has a vocabulary of {model.config.vocab_size}")
    if extra < 1:
        raise ValueError(f"extra: {extra} tokens beyond the input's length; at least 1")


@torch.inference_mode()
def greedy_decode(
    model: Transformer, src: Int[Tensor, "sentences source"], bos: int = 1, eos: int = 2, extra: int = 50
) -> list[list[int]]:
    """The most probable token at every step, for each sentence up to its end token or its length + extra."""
    _checked(model, src, bos, eos, extra)
    limits = length_limits(model, src, extra)
    memory, mask = model.encode(src)
    state = DecoderState(model, memory, mask, 1, int(limits.max()))
    outputs: list[list[int]] = [[] for _ in src]
    alive = torch.arange(len(src), device=src.device)
    tokens = torch.full_like(alive, bos)
    while len(alive):
        tokens = largest(state.step(tokens), 1)[1][:, 0]
        for sentence, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            if token != eos:
                outputs[sentence].append(token)
        going = (tokens != eos) & (limits[alive] > state.time)
        if not bool(going.all()):
            kept = going.nonzero()[:, 0]
            alive, tokens = alive[kept], tokens[kept]
            state.select(kept, kept)
    return outputs


@dataclass
class _Pools:
    """Hypotheses that go on and hypotheses that ended, K of each for every sentence still searched."""

    sentences: Int[Tensor, " n"]
    limits: Int[Tensor, " n"]
    alive: Int[Tensor, "n K time"]
    log_p: Float[Tensor, "n K"]
    ended: list[list[Hypothesis]] = field(default_factory=list)  # of every sentence, best first, at most K

    def keep(self, kept: Int[Tensor, " m"]) -> None:
        """Go on with some of the sentences."""
        for name in ("sentences", "limits", "alive", "log_p"):
            setattr(self, name, getattr(self, name)[kept])


@torch.inference_mode()
def beam_search(
    model: Transformer,
    src: Int[Tensor, "sentences source"],
    bos: int = 1,
    eos: int = 2,
    beam: int = 4,
    alpha: float = 0.6,
    length_penalty: LengthPenalty = "gnmt",
    stop: Stop = "heuristic",
    extra: int = 50,
) -> list[list[Hypothesis]]:
    """For each sentence up to `beam` hypotheses, best first: their ids without bos and eos, and their scores.

    The bookkeeping is tensor2tensor's: of the 2K best continuations those that end, if among the best K, join a pool
    of the K best finished hypotheses, and the K best of the others go on. The search for a sentence ends when K are
    finished and nothing alive can beat the worst of them: by its present length (stop="heuristic"), or by any length
    it may reach ("exact").

    At its longest allowed length, input + extra (section 6.1), a sentence without a finished hypothesis gets its
    unfinished ones.
    """
    _checked(model, src, bos, eos, extra)
    if beam < 1:
        raise ValueError(f"beam: {beam} hypotheses; at least 1")
    for name, value, accepted in (
        ("length_penalty", length_penalty, ("gnmt", "power")),
        ("stop", stop, ("exact", "heuristic")),
    ):
        if value not in accepted:
            raise ValueError(f"{name}: {value!r} is none of {', '.join(accepted)}")
    n = len(src)
    limits = length_limits(model, src, extra)
    memory, mask = model.encode(src)
    state = DecoderState(model, memory, mask, beam, int(limits.max()) if n else 0)
    log_p = torch.full((n, beam), NEVER, device=src.device)
    log_p[:, 0] = 0.0  # all beams begin alike: only the first may branch
    start = torch.full((n, beam, 1), bos, dtype=torch.long, device=src.device)
    pools = _Pools(torch.arange(n, device=src.device), limits, start, log_p, [[] for _ in range(n)])
    while len(pools.sentences):
        parents = _grow(state, pools, eos, beam, alpha, length_penalty)
        done = _done(pools, state.time, beam, alpha, length_penalty, stop)
        rows = torch.arange(len(parents), device=src.device)[:, None] * beam + parents
        if bool(done.any()):
            kept = (~done).nonzero()[:, 0]
            pools.keep(kept)
            state.select(rows[kept].flatten(), kept)
        elif not bool((rows.flatten() == torch.arange(rows.numel(), device=src.device)).all()):
            state.select(rows.flatten())
    return pools.ended


def _grow(
    state: DecoderState, pools: _Pools, eos: int, beam: int, alpha: float, rule: LengthPenalty
) -> Int[Tensor, "n K"]:
    """One step of the search; returns from which beam each alive hypothesis came."""
    n = len(pools.sentences)
    logits = state.step(pools.alive[:, :, -1].flatten())
    # only the 2K best of each beam can be among the 2K best of all: no softmax over the vocabulary is written out
    most = min(2 * beam, logits.size(-1))
    best, ids = most_probable(logits, most)
    log_p = (pools.log_p.flatten()[:, None] + best).view(n, -1)
    top, chosen = log_p.topk(min(2 * beam, log_p.size(1)))
    parents, tokens = chosen // most, ids.view(n, -1).gather(1, chosen)
    ends = tokens == eos

    scores = top / length_penalty_of(torch.tensor(float(state.time), device=top.device), alpha, rule)
    real = top > NEVER / 2
    for i, rank in (ends & real)[:, :beam].nonzero().tolist():
        ids_so_far = pools.alive[i, parents[i, rank], 1:].tolist()
        pool = pools.ended[int(pools.sentences[i])]
        pool.append((ids_so_far, float(scores[i, rank])))
        pool.sort(key=lambda h: -h[1])
        del pool[beam:]

    going, order = top.masked_fill(ends, NEVER).topk(beam)
    parents = parents.gather(1, order)
    pools.log_p = going
    before = pools.alive.gather(1, parents[:, :, None].expand(-1, -1, pools.alive.size(2)))
    pools.alive = torch.cat([before, tokens.gather(1, order)[:, :, None]], -1)
    return parents


def _done(pools: _Pools, time: int, beam: int, alpha: float, rule: LengthPenalty, stop: Stop) -> Tensor:
    """Which sentences are finished: nothing alive can get into the pool, or the length is used up."""
    at = pools.limits if stop == "exact" else torch.full_like(pools.limits, time)
    hopes = (pools.log_p[:, 0] / length_penalty_of(at, alpha, rule)).tolist()
    done = []
    for i, (sentence, limit) in enumerate(zip(pools.sentences.tolist(), pools.limits.tolist(), strict=True)):
        pool = pools.ended[sentence]
        if time >= limit and not pool:
            penalty = float(length_penalty_of(pools.limits[i], alpha, rule))
            unfinished = zip(pools.alive[i, :, 1:].tolist(), pools.log_p[i].tolist(), strict=True)
            pool.extend((ids, log_p / penalty) for ids, log_p in unfinished if log_p > NEVER / 2)
        done.append(time >= limit or (len(pool) == beam and pool[-1][1] >= hopes[i]))
    return torch.tensor(done, device=pools.limits.device)
