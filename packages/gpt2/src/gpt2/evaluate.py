"""Perplexity with a stated protocol.

A window of context_length tokens moves by `stride` through the text. Each token but the first is predicted exactly
once: the first window predicts all that it holds, each later one only the tokens that are new to it, so all but
the first window's tokens have at least context_length - stride tokens before them.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt2.model import GPT2
from gpt2.tokenizers import Tokenizer


@torch.no_grad()
def token_losses(model: GPT2, ids: Int[Tensor, " tokens"], stride: int | None = None) -> Float[Tensor, " predictions"]:
    """-log p of every token after the first, given the tokens before it in its window."""
    length = model.config.context_length
    stride = length // 2 if stride is None else stride
    if not 0 < stride <= length:
        raise ValueError(f"stride: {stride} is not in 1 to {length}, the context")
    if len(ids) < 2:
        raise ValueError("text: fewer than two tokens, so there is nothing to predict")
    if int(ids.max()) >= model.config.vocab_size:
        raise ValueError(f"text: token {int(ids.max())} is not in the model's vocabulary of {model.config.vocab_size}")
    was_training = model.training
    model.eval()
    found, done, start = [], 0, 0  # `done`: predictions so far
    while done < len(ids) - 1:
        end = min(start + length, len(ids) - 1)
        logits = model.lm_head(model.hidden(ids[None, start:end])[0, done - start :])
        targets = ids[done + 1 : end + 1]
        found.append(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none"))
        done, start = end, start + stride
    model.train(was_training)
    return torch.cat(found)


def evaluate_text(
    model: GPT2, tokenizer: Tokenizer, text: str, stride: int | None = None, words: int | None = None
) -> dict[str, float]:
    """Loss and perplexity per token and per word (of `words`, or split at white space), loss and bits per byte.

    The text begins after an end-of-text token, where the tokenizer has one, so its first token counts too.
    """
    begin = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    ids = torch.tensor(begin + tokenizer.encode(text), device=model.wte.weight.device)
    losses = token_losses(model, ids, stride).double()
    words = len(text.split()) if words is None else words
    total, size = float(losses.sum()), len(text.encode("utf-8", errors="replace"))
    return {
        "tokens": float(len(losses)),
        "loss_per_token": total / len(losses),
        "perplexity_per_token": math.exp(total / len(losses)),
        "perplexity_per_word": math.exp(min(700.0, total / max(1, words))),
        "loss_per_byte": total / size,
        "bits_per_byte": total / size / math.log(2),
    }
