"""`gpt2 demo`: train a small GPT-2 on Python's documentation, look inside it, and let it write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gpt2.config import SamplingConfig
from gpt2.data import tokenizers
from gpt2.inference.generate_text import generate_text
from gpt2.model import GPT2

SHADES = " .:-=+*#%@"
PROMPT = "The class "
SENTENCE = "the value of the value"


def attention_map(weights: Tensor, text: str) -> str:
    """Return the weights (queries, keys) of one head as characters: a row for each query, darker for larger weights.

    >>> print(attention_map(torch.tensor([[1.0, 0.0], [0.25, 0.75]]), "ab"))
      a b
    a @
    b : #
    """
    letters = [c if c.isprintable() else "?" for c in text]
    rows = ["  " + " ".join(letters)]
    for query, (letter, row) in enumerate(zip(letters, weights.tolist(), strict=True)):
        marks = [SHADES[min(len(SHADES) - 1, int(w * len(SHADES)))] if k <= query else "" for k, w in enumerate(row)]
        rows.append(f"{letter} " + " ".join(m if m != " " else "." for m in marks).rstrip())
    return "\n".join(rows)


def previous_token_head(attn: Tensor) -> tuple[int, int, float]:
    """Return layer and head with the largest mean weight on the previous token, and that weight.

    attn: (layers, heads, queries, keys).
    """
    weight = attn.diagonal(offset=-1, dim1=2, dim2=3).mean(-1)
    layer, head = divmod(int(weight.argmax()), weight.shape[1])
    return layer, head, float(weight[layer, head])


def show(run: Path, say: Callable[[str], None], seed: int = 0) -> None:
    """Show a trained run: one attention head, and text that the model writes, beside that of an untrained model."""
    model, tokenizer = GPT2.from_pretrained(run), tokenizers.load(run)
    with torch.no_grad():
        attn = model(torch.tensor([tokenizer.encode(SENTENCE)]), return_intermediates=True)[1]["attn"][:, 0]
    layer, head, weight = previous_token_head(attn)
    say(f"Layer {layer}, head {head} attends to the previous byte with a mean weight of {weight:.0%}.")
    say("Rows are queries, columns are keys; darker characters are larger weights:\n")
    say(attention_map(attn[layer, head], SENTENCE) + "\n")
    torch.manual_seed(seed)
    sampling = SamplingConfig(temperature=0.7, top_p=0.95)
    untrained = generate_text(GPT2(model.config).eval(), tokenizer, [PROMPT], 60, sampling, seed=seed)[0]
    say(f"An untrained model writes:\n\n{PROMPT}{printable(untrained)}\n")
    trained = generate_text(model, tokenizer, [PROMPT], 400, sampling, seed=seed)[0]
    say(f"The trained model writes:\n\n{PROMPT}{trained}\n")


def printable(text: str) -> str:
    """Return a text with characters that a terminal cannot show replaced by a dot."""
    return "".join(c if c.isprintable() and c != "\ufffd" else "·" for c in text)
