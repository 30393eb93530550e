"""The generation loop, with and without the key-value cache, also past the end of the context.

GPT-2 learned one vector per position, so a text longer than the context cannot slide along under cached keys. Which
tokens of a text of n tokens the model receives depends on n alone, with and without cache:

- overflow="context_shift": when the text no longer fits, its last context_length // 2 tokens stay and are processed
  again from position 0; then there is room for as many more. That is one pass over a half for each half context.
- overflow="crop": always the last context_length tokens, recomputed for each new token (nanoGPT's rule).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gpt2._common.errors import check_choice, check_integer, invalid
from gpt2.config import GPT2Config, Overflow, SamplingConfig
from gpt2.inference.cache import KVCache
from gpt2.inference.sampling import Generators, penalize_repetition, sample_next

Prompts = Int[Tensor, "batch time"] | Sequence[Sequence[int]]
Texts = Tensor | list[Tensor]
Generated = Texts | tuple[Texts, Texts]
COLUMNS = 1024  # memory for new tokens is reserved in portions of at least this many


@runtime_checkable
class LanguageModel(Protocol):
    """What generation needs of a model: GPT2, or a Decoder with smaller weights."""

    config: GPT2Config
    training: bool

    @property
    def lm_head(self) -> Any:
        """Function from hidden states to logits."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the keys and values."""

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the hidden states that `lm_head` maps to logits."""

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off."""


def window_start(time: int, context_length: int, overflow: Overflow) -> int:
    """Return the first token that the model receives of a text of `time` tokens.

    >>> [window_start(n, 8, "context_shift") for n in (8, 9, 13, 14)], window_start(11, 8, "crop")
    ([0, 5, 5, 10], 3)
    """
    beyond = max(0, time - context_length)
    if overflow == "crop":
        return beyond
    step = context_length + 1 - max(1, context_length // 2)  # a text that is one token too long loses this many
    return -(-beyond // step) * step


@dataclass(frozen=True)
class Step:
    """One new token of each row: the token, its log-probability under the model, and which rows had finished."""

    tokens: Int[Tensor, " batch"]
    logprobs: Float[Tensor, " batch"]
    done: Bool[Tensor, " batch"]  # before this token, whose value is then padding


def stream(
    model: LanguageModel,
    prompts: Prompts,
    max_new_tokens: int,
    sampling: SamplingConfig | None = None,
    *,
    stop_tokens: Sequence[int] = (),
    on_token: Callable[[int, int], bool] | None = None,
    generator: Generators = None,
    overflow: Overflow = "context_shift",
    use_cache: bool = True,
    vocab_size: int | None = None,
) -> Iterator[Step]:
    """Yield the new tokens of all rows, one step at a time, until every row has finished.

    A row finishes after one of `stop_tokens`, or when `on_token(row, token)` returns True. `logprobs` are those of the
    model, before any filter. vocab_size: ids from this one on are never sampled, for models whose vocabulary is padded.
    The model is switched to evaluation mode and back.
    Raises: ValueError for prompts or options that do not fit the model.
    """
    check_integer("max_new_tokens", max_new_tokens, 0)
    sampling = sampling or SamplingConfig()
    context_length, device = model.config.context_length, model.device
    text, padding = align_right(prompts, device)
    batch, end = text.shape
    _check(model, text, batch, generator, overflow)
    last = end + max_new_tokens
    starts = padding.tolist()
    stops = torch.tensor(list(stop_tokens), dtype=torch.long, device=device)
    done = torch.zeros(batch, dtype=torch.bool, device=device)
    cache: KVCache | None = None
    attended: list[int] = []  # the column at which each row's window started in the previous pass
    was_training = model.training
    model.train(False)
    try:
        for column in range(end, last):
            if column == text.shape[1]:
                room = min(max(COLUMNS, column), last - column)
                text = torch.cat([text, text.new_zeros(batch, room)], dim=1)
            windows = [s + window_start(column - s, context_length, overflow) for s in starts]
            left = min(windows)
            if cache is None or windows != attended or not use_cache:
                unused = torch.tensor([w - left for w in windows], device=device)
                length = min(context_length, last - left) if use_cache else column - left
                cache = KVCache(model.config, length, batch, padding=unused, dtype=model.dtype, device=device)
                new_ids = text[:, left:column]
            else:
                new_ids = text[:, column - 1 : column]
            attended = windows
            with torch.no_grad():  # here, not around the whole generator: the caller's code runs between its steps
                logits = model.lm_head(model.hidden(new_ids, cache)[:, -1]).float()
            choice = logits
            if vocab_size is not None and vocab_size < logits.shape[1]:
                choice = logits.index_fill(1, torch.arange(vocab_size, logits.shape[1], device=device), -torch.inf)
            if sampling.repetition_penalty != 1:
                present = torch.arange(column, device=device) >= padding[:, None]
                choice = penalize_repetition(choice, text[:, :column], present, sampling.repetition_penalty)
            token = sample_next(choice, sampling, generator).where(~done, text[:, column - 1])
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


def align_right(prompts: Prompts, device: torch.device) -> tuple[Int[Tensor, "batch columns"], Int[Tensor, " batch"]]:
    """Return the prompts with their last tokens in one column, and the number of padding columns of each."""
    rows = [torch.as_tensor(p, dtype=torch.long, device=device) for p in prompts]
    if not rows or any(len(row) == 0 for row in rows):
        raise ValueError("`prompts` must be prompts of at least one token. Start with the end-of-text token")
    longest = max(len(row) for row in rows)
    text = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
    for row, ids in enumerate(rows):
        text[row, longest - len(ids) :] = ids
    return text, torch.tensor([longest - len(row) for row in rows], device=device)


def _check(model: LanguageModel, text: Tensor, batch: int, generator: Generators, overflow: str) -> None:
    check_choice("overflow", overflow, get_args(Overflow))
    vocab, low, high = model.config.vocab_size, int(text.min()), int(text.max())
    if low < 0 or high >= vocab:
        raise invalid("prompts", f"hold ids from 0 to {vocab - 1}, the model's vocabulary", low if low < 0 else high)
    if isinstance(generator, Sequence) and len(generator) != batch:
        raise invalid("generator", f"be one generator, or {batch}, one for each prompt", len(generator))


def generate(
    model: LanguageModel,
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
    overflow: Overflow = "context_shift",
    use_cache: bool = True,
    return_logprobs: bool = False,
) -> Generated:
    """Continue texts by up to `max_new_tokens` tokens.

    prompts: ids (batch, time), or a list of token lists of different lengths. temperature … repetition_penalty: see
    SamplingConfig. generator: one for the batch, or one for each row; then a row does not depend on the other rows.
    Returns the texts, prompts included: for a tensor a tensor (batch, time + new), in which a row that stopped early
    repeats its stop token; for a list a list of tensors, each cut after its stop token.
    With `return_logprobs` also the log-probabilities of the new tokens, in the same form.
    """
    steps = list(
        stream(
            model,
            prompts,
            max_new_tokens,
            SamplingConfig(temperature, top_k, top_p, min_p, repetition_penalty),
            stop_tokens=stop_tokens,
            generator=generator,
            overflow=overflow,
            use_cache=use_cache,
        )
    )
    if isinstance(prompts, Tensor):
        new = [step.tokens[:, None] for step in steps]
        out = torch.cat([prompts.to(model.device), *new], dim=1)
        empty = torch.zeros(len(prompts), 0, device=model.device)
        return (out, torch.cat([empty, *(s.logprobs[:, None] for s in steps)], 1)) if return_logprobs else out
    kept = [[s for s in steps if not s.done[row]] for row in range(len(prompts))]
    texts = [torch.tensor([*prompt, *(int(s.tokens[row]) for s in kept[row])]) for row, prompt in enumerate(prompts)]
    logprobs = [torch.tensor([float(s.logprobs[row]) for s in kept[row]]) for row in range(len(prompts))]
    return (texts, logprobs) if return_logprobs else texts
