"""Perplexity with a stated protocol.

A window of context_length tokens moves through the text by `stride`. Each token but the first is predicted exactly
once: the first window predicts all its tokens, each later one only those that are new to it. So every token outside the
first window has at least context_length - stride tokens before it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt2._common.errors import check_integer, invalid
from gpt2.data.tokenizers import Tokenizer, check_fits
from gpt2.inference.generate import LanguageModel


@torch.no_grad()
def token_losses(
    model: LanguageModel, ids: Int[Tensor, " time"], stride: int | None = None
) -> Float[Tensor, " predictions"]:
    """Return -log p of every token after the first, given the tokens before it in its window.

    stride: half the context by default. Raises: ValueError for fewer than two tokens, and if a loss is NaN or infinite.
    """
    length = model.config.context_length
    stride = max(1, length // 2) if stride is None else stride
    check_integer("stride", stride, 1, length)
    if len(ids) < 2:
        raise invalid("text", "have at least 2 tokens", len(ids))
    if int(ids.max()) >= model.config.vocab_size:
        raise invalid("text", f"have ids below the model's {model.config.vocab_size}", int(ids.max()))
    was_training = model.training
    model.train(False)
    losses, done, start = [], 0, 0  # `done`: predictions so far
    while done < len(ids) - 1:
        end = min(start + length, len(ids) - 1)
        logits = model.lm_head(model.hidden(ids[None, start:end])[0, done - start :])
        targets = ids[done + 1 : end + 1]
        losses.append(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none"))
        done, start = end, start + stride
    model.train(was_training)
    found = torch.cat(losses)
    if not bool(found.isfinite().all()):
        raise ValueError("the loss is NaN or infinite: the model's weights are damaged, or the dtype is too small")
    return found


def evaluate_text(
    model: LanguageModel, tokenizer: Tokenizer, text: str, stride: int | None = None, words: int | None = None
) -> dict[str, float]:
    """Return loss and perplexity per token and per word, and loss and bits per byte.

    words: the number of words, by default that of the text split at white space. The text starts after an end-of-text
    token, where the tokenizer has one, so its first token counts too. A perplexity beyond the range of floating-point
    numbers is infinite.
    """
    check_fits(tokenizer, model.config.vocab_size)
    start = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    ids = torch.tensor(start + tokenizer.encode(text), device=model.device, dtype=torch.long)
    losses = token_losses(model, ids, stride).double()
    words = len(text.split()) if words is None else words
    total, size = float(losses.sum()), len(text.encode("utf-8"))
    return {
        "tokens": float(len(losses)),
        "loss_per_token": total / len(losses),
        "perplexity_per_token": _exp(total / len(losses)),
        "perplexity_per_word": _exp(total / max(1, words)),
        "loss_per_byte": total / size,
        "bits_per_byte": total / size / math.log(2),
    }


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
