"""Texts, their training and validation splits, and batches of windows."""

from __future__ import annotations

import hashlib
import importlib
import os
import random
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from lets_build_gpt._common.atomic import read_text
from lets_build_gpt._common.errors import invalid
from lets_build_gpt._common.optional import require

TRAIN_FRACTION = 0.9
SHAKESPEARE = "shakespeare"


def load_text(name: str | os.PathLike[str] | None = None) -> str:
    """Return a text.

    name: a UTF-8 file; "shakespeare" (unless a file has that name): tiny shakespeare, which dlpapers_shared
    downloads once; None: the Python language reference, English prose of about 400 kB that is part of every Python
    installation and differs by Python version. Its topics are in a fixed random order, so that the validation split
    has the same kind of text as the training split.
    Raises: ValueError if the file is empty or not UTF-8, OSError if it cannot be read, MissingDependencyError if
    dlpapers_shared is needed and not installed.
    """
    if name is None:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
        keys = sorted(topics)
        random.Random(8).shuffle(keys)  # a seed for which both splits are about equally hard for a bigram model
        return "\n".join(topics[key] for key in keys)
    if name == SHAKESPEARE and not Path(name).exists():
        return str(require("dlpapers_shared.data", "the text `shakespeare`").read_text("text/tinyshakespeare.txt"))
    text = read_text(name)
    if not text:
        raise ValueError(f"{name}: the file is empty")
    return text


def fingerprint(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def split(text: str, fraction: float = TRAIN_FRACTION) -> tuple[str, str]:
    """Split a text by characters: the first `fraction` for training, the rest for validation.

    >>> split("abcdefghij")
    ('abcdefghi', 'j')
    """
    border = int(fraction * len(text))
    return text[:border], text[border:]


def check_length(text: str, context_length: int, where: str = "text") -> None:
    """Raise ValueError unless both splits of a text hold at least one window of each kind of batch."""
    train, validation = split(text)
    # two windows and the target of the last one for training (Batches), one window and its target for validation
    if len(train) > 2 * context_length and len(validation) > context_length:
        return
    least = 10 * context_length + 1  # its last tenth, rounded up, is one window and its target
    raise ValueError(
        f"{where}: {len(text):,} characters are too few; `context_length` = {context_length} needs at least {least:,}. "
        "Use a longer text or a smaller --context-length"
    )


class Batches:
    """Batches of windows of a token sequence. `batch(step)` depends on the seed and the step alone.

    Each epoch cuts the sequence into adjacent windows, starting at a random offset, and visits them in random order.
    No token occurs twice in an epoch. Resuming needs no stored state.
    Raises: ValueError if the sequence is too short.
    """

    def __init__(self, ids: Int[Tensor, " tokens"], batch_size: int, context_length: int, seed: int) -> None:
        # one window fewer than fit, so that every offset leaves the same number
        self.per_epoch = (len(ids) - 1) // context_length - 1
        if self.per_epoch < 1:
            raise invalid("ids", f"have at least 2 `context_length` + 1 = {2 * context_length + 1} tokens", len(ids))
        self.ids = ids
        self.batch_size = batch_size
        self.context_length = context_length
        self.seed = seed
        self._epoch = -1
        self._starts = torch.empty(0, dtype=torch.long)

    def starts(self, epoch: int) -> Int[Tensor, " windows"]:
        """Return the index of the first token of each window of an epoch, in the order of training."""
        if epoch != self._epoch:
            # a large prime, so that runs with nearby seeds do not share epochs
            generator = torch.Generator().manual_seed(self.seed + 7919 * epoch)
            offset = torch.randint(self.context_length, (1,), generator=generator)
            self._starts = offset + self.context_length * torch.randperm(self.per_epoch, generator=generator)
            self._epoch = epoch
        return self._starts

    def batch(self, step: int) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
        """Return inputs and targets of a step, counted from 0. The targets are the inputs shifted by one token."""
        chosen = []
        for window in range(step * self.batch_size, (step + 1) * self.batch_size):
            chosen.append(self.starts(window // self.per_epoch)[window % self.per_epoch])
        windows = torch.stack(chosen)[:, None] + torch.arange(self.context_length + 1)
        tokens = self.ids[windows]
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def windows(
    ids: Int[Tensor, " tokens"], context_length: int
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """Return all adjacent windows of a sequence and their targets, as the validation loss uses them.

    A remainder shorter than a window is left out.
    Raises: ValueError if the sequence is shorter than one window and its last target.
    """
    n = (len(ids) - 1) // context_length
    if n < 1:
        raise invalid("ids", f"have at least `context_length` + 1 = {context_length + 1} tokens", len(ids))
    end = n * context_length
    return ids[:end].view(n, context_length), ids[1 : end + 1].view(n, context_length)
