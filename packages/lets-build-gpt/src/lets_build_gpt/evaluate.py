"""The validation loss: mean cross-entropy over a whole token sequence, in adjacent windows."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from lets_build_gpt._common.errors import check_integer, invalid
from lets_build_gpt.checkpoint import load_run, read_settings
from lets_build_gpt.data import fingerprint, load_text, windows
from lets_build_gpt.data import split as split_text
from lets_build_gpt.model import Model


@torch.no_grad()
def evaluate(model: Model, ids: Int[Tensor, " tokens"], batch_size: int = 64) -> float:
    """Return the mean loss in nats per token, without dropout, in the model's own dtype.

    The sequence is cut into adjacent windows of `context_length` tokens (fewer, if it is shorter). A remainder
    shorter than a window is left out. The result does not depend on `batch_size`.
    Raises: ValueError if the sequence has fewer than two tokens.
    """
    check_integer("batch_size", batch_size, 1)
    if len(ids) < 2:
        raise invalid("ids", "have at least two tokens", len(ids))
    device = model.token_embedding.weight.device
    inputs, targets = windows(ids, min(model.config.context_length, len(ids) - 1))
    was_training = model.training
    model.eval()
    total = 0.0
    try:
        for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
            total += model.loss(x.to(device), y.to(device)).item() * y.numel()
    finally:
        model.train(was_training)
    return total / targets.numel()


@dataclass(frozen=True)
class Score:
    """The loss of a run on a part of a text, in nats per character.

    part: "validation split", "train split" or "whole text".
    """

    text_name: str
    part: str
    characters: int
    loss: float

    @property
    def bits(self) -> float:
        """The loss in bits per character."""
        return self.loss / math.log(2)

    @property
    def perplexity(self) -> float:
        """The perplexity per character, e to the power of the loss."""
        return math.exp(self.loss)


def score_run(
    run: str | os.PathLike[str],
    text: str | None = None,
    text_name: str | None = None,
    *,
    split: Literal["validation", "train", "all"] | None = None,
    last: bool = False,
    device: torch.device | None = None,
) -> Score:
    """Score a run's model in float32.

    text: None loads the text that the run was trained on. split: the part to score; None: the validation split of the
    run's own text, all of another text. last: see `load_run`.
    Raises: ValueError if the run's own text is not known or has changed, and for characters outside the vocabulary.
    """
    model, tokenizer = load_run(run, last=last)
    data = read_settings(run).get("data")
    if text is None:
        if not isinstance(data, dict) or "text" not in data or data["text"] == "-":
            raise ValueError(f"{run}: the text of this run is not stored. Name one with --text")
        text, text_name = load_text(data["text"]), data["text"] or "the Python language reference"
        if fingerprint(text) != data.get("text_sha256"):
            raise ValueError(f"{text_name}: is no longer the text that the run was trained on. Name one with --text")
    own = isinstance(data, dict) and fingerprint(text) == data.get("text_sha256")
    chosen = split or ("validation" if own else "all")
    train_text, val_text = split_text(text)
    part = {"all": text, "train": train_text, "validation": val_text}[chosen]
    name = text_name or "text"
    try:
        loss = evaluate(model.to(device or "cpu"), torch.tensor(tokenizer.encode(part)))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Score(name, "whole text" if chosen == "all" else f"{chosen} split", len(part), loss)
