"""Continuing texts: the loop around the model, with the cache or without, past the end of the context too.

GPT-2 learned a vector for each of its positions, so a text longer than the context cannot just slide along
under cached keys. What the model sees of a text of n tokens is a function of n alone, with and without cache:

- overflow="rebase": when the text no longer fits, its last context_length // 2 tokens stay and are fed again
  from position 0; then there is room for as many more. Two passes over a half per half a context.
- overflow="crop": always the last context_length tokens, all recomputed for each new token (nanoGPT's rule).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gpt2.cache import KVCache
from gpt2.model import GPT2
from gpt2.sampling import draw, penalize_repetition
from gpt2.settings import Overflow, Sampling

Prompts = Int[Tensor, "batch tokens"] | Sequence[Sequence[int]]
Generators = torch.Generator | Sequence[torch.Generator] | None


def window_start(tokens: int, context_length: int, overflow: Overflow) -> int:
    """Where the part of a text of `tokens` tokens begins that the model sees.

    >>> [window_start(n, 8, "rebase") for n in (8, 9, 13, 14)], window_start(11, 8, "crop")
    ([0, 5, 5, 10], 3)
    """
    beyond = max(0, tokens - context_length)
    if overflow == "crop":
        return beyond
    step = context_length + 1 - max(1, context_length // 2)  # a text one token too long loses this many
    return -(-beyond // step) * step


@dataclass(frozen=True)
class Step:
    """One new token of each row: the token, its log-probability under the model, and which rows are finished."""

    tokens: Int[Tensor, " batch"]
    logprobs: Float[Tensor, " batch"]
    done: Bool[Tensor, " batch"]  # before this token: its value is padding then


def stream(
    model: GPT2,
    prompts: Prompts,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    *,
    stop_tokens: Sequence[int] = (),
    on_token: Callable[[int, int], bool] | None = None,
    generator: Generators = None,
    overflow: Overflow = "rebase",
    use_cache: bool = True,
) -> Iterator[Step]:
    """Yield the new tokens of all rows, one step at a time, until every row is finished.

    A row is finished after one of `stop_tokens`, or when `on_token(row, token)` says so. `logprobs` are those of
    the model itself, before any filter. The model is switched to evaluation and back.
    """
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens: {max_new_tokens} is negative")
    sampling = sampling or Sampling()
    device = model.wte.weight.device
    text, first = flush_right(prompts, max_new_tokens, device)
    batch, end = text.shape[0], text.shape[1] - max_new_tokens
    _check(model, text, first, generator, overflow)
    starts = first.tolist()
    stops = torch.tensor(list(stop_tokens), dtype=torch.long, device=device)
    done = torch.zeros(batch, dtype=torch.bool, device=device)
    context_length = model.config.context_length
    cache: KVCache | None = None
    seen: list[int] = []  # the column at which each row's window began in the last call
    was_training = model.training
    model.eval()
    try:
        for column in range(end, end + max_new_tokens):
            begins = [s + window_start(column - s, context_length, overflow) for s in starts]
            left = min(begins)
            if cache is None or begins != seen or not use_cache:
                padding = torch.tensor([b - left for b in begins], device=device)
                length = min(context_length, text.shape[1] - left) if use_cache else column - left
                cache = KVCache(model.config, length, padding, model.ln_f.weight.dtype)
                fed = text[:, left:column]
            else:
                fed = text[:, column - 1 : column]
            seen = begins
            cache.begin(fed.shape[1])
            with torch.no_grad():  # here, not around the whole generator: the caller's code runs between its steps
                logits = model.lm_head(model.hidden(fed, cache)[:, -1]).float()
            choice = logits
            if sampling.repetition_penalty != 1:
                present = torch.arange(column, device=device) >= first[:, None]
                choice = penalize_repetition(logits, text[:, :column], present, sampling.repetition_penalty)
            token = draw(choice, sampling, generator).where(~done, text[:, column - 1])
            text[:, column] = token
            logprob = logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
            yield Step(token, logprob.where(~done, 0.0), done.clone())
            if len(stops):
                done |= torch.isin(token, stops)
            if on_token is not None:
                for row in (~done).nonzero()[:, 0].tolist():
                    done[row] = on_token(row, int(token[row]))
            if (len(stops) or on_token is not None) and bool(done.all()):
                return
    finally:
        model.train(was_training)


def flush_right(
    prompts: Prompts, room: int, device: torch.device
) -> tuple[Int[Tensor, "batch columns"], Int[Tensor, " batch"]]:
    """Prompts side by side, their last tokens in one column, with `room` free columns after it.

    Also the column at which each begins.
    """
    rows = [torch.as_tensor(p, dtype=torch.long, device=device) for p in prompts]
    if not rows or any(len(row) == 0 for row in rows):
        raise ValueError("prompts: a prompt needs at least one token (begin with the end-of-text token)")
    longest = max(len(row) for row in rows)
    text = torch.zeros(len(rows), longest + room, dtype=torch.long, device=device)
    for row, ids in enumerate(rows):
        text[row, longest - len(ids) : longest] = ids
    return text, torch.tensor([longest - len(row) for row in rows], device=device)


def _check(model: GPT2, text: Tensor, first: Tensor, generator: Generators, overflow: str) -> None:
    if overflow not in ("rebase", "crop"):
        raise ValueError(f"overflow: {overflow!r} is neither rebase nor crop")
    vocab = model.config.vocab_size
    if int(text.max()) >= vocab or int(text.min()) < 0:
        raise ValueError(f"prompts: a token outside of 0 to {vocab - 1}, the model's vocabulary")
    if isinstance(generator, Sequence) and len(generator) != len(first):
        raise ValueError(f"generator: {len(generator)} generators for {len(first)} prompts")


def generate(
    model: GPT2,
    prompts: Prompts,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    stop_tokens: Sequence[int] = (),
    generator: Generators = None,
    overflow: Overflow = "rebase",
    use_cache: bool = True,
    return_logprobs: bool = False,
) -> Tensor | list[Tensor] | tuple[Tensor | list[Tensor], Tensor | list[Tensor]]:
    """Continue texts by up to `max_new_tokens` tokens.

    prompts: ids (batch, tokens), or a list of token lists of different lengths.
    Returns the texts, prompt included. For a tensor a tensor (batch, tokens + new): a row that stopped early
    repeats its stop token. For a list a list of tensors, each cut after its stop token.
    With `return_logprobs` also the log-probabilities of the new tokens, in the same form.
    `generator`: one for the batch, or one for each row, which makes a row independent of its company.
    """
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    options = {"stop_tokens": stop_tokens, "generator": generator, "overflow": overflow, "use_cache": use_cache}
    steps = list(stream(model, prompts, max_new_tokens, sampling, **options))  # type: ignore[arg-type]
    device = model.wte.weight.device
    if isinstance(prompts, Tensor):
        new = [step.tokens[:, None] for step in steps]
        out = torch.cat([prompts.to(device), *new], dim=1)
        empty = torch.zeros(len(prompts), 0, device=device)
        return (out, torch.cat([empty, *(s.logprobs[:, None] for s in steps)], 1)) if return_logprobs else out
    kept = [[s for s in steps if not s.done[row]] for row in range(len(prompts))]
    texts = [torch.tensor([*prompt, *(int(s.tokens[row]) for s in kept[row])]) for row, prompt in enumerate(prompts)]
    logprobs = [torch.tensor([float(s.logprobs[row]) for s in kept[row]]) for row in range(len(prompts))]
    return (texts, logprobs) if return_logprobs else texts
