"""Texts, their training and validation splits, and batches of windows."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from lets_build_gpt import siblings


def load_text(name: str = "") -> str:
    """A text by name: "" the Python language reference, "shakespeare" tiny shakespeare, else the file of that name.

    The reference is inside every interpreter (English prose of some hundred kB; it differs by version), so it needs
    no download. Shakespeare comes by dlpapers_shared, which downloads it once; ModuleNotFoundError says how to
    install that. ValueError for a file that is not UTF-8 or is empty, OSError for one that cannot be read.
    """
    if name == "":
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
        return "\n".join(topics[key] for key in sorted(topics))
    if name == "shakespeare" and not Path(name).exists():
        return str(siblings.shared("data", "the text 'shakespeare'").read_text("text/tinyshakespeare.txt"))
    try:
        text = Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"text: {name} is not UTF-8 at byte {error.start}") from error
    if not text:
        raise ValueError(f"text: {name} is empty")
    return text


def split(text: str, train: float = 0.9) -> tuple[str, str]:
    """The first part of a text for training, the rest for validation; by characters."""
    border = int(train * len(text))
    return text[:border], text[border:]


class Batches:
    """Batches of windows of a token sequence: batch(step) is a function of seed and step alone.

    Each epoch cuts the sequence, from a random offset on, into windows side by side and visits them in random
    order: within an epoch no token is seen twice. Nothing has to be stored to resume.
    """

    def __init__(self, ids: Int[Tensor, " tokens"], batch_size: int, context_length: int, seed: int) -> None:
        # one window less than fit, so that every offset leaves the same number
        self.per_epoch = (len(ids) - 1) // context_length - 1
        if self.per_epoch < 1:
            raise ValueError(
                f"text: {len(ids)} training tokens; context_length = {context_length} needs twice that plus 1"
            )
        self.ids = ids
        self.batch_size = batch_size
        self.context_length = context_length
        self.seed = seed
        self._epoch = -1
        self._starts = torch.empty(0, dtype=torch.long)

    def starts(self, epoch: int) -> Int[Tensor, " windows"]:
        """Where the windows of an epoch begin, in the order in which they are visited."""
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(
                self.seed + 7919 * epoch
            )  # a prime: seeds do not share epochs soon
            offset = torch.randint(self.context_length, (1,), generator=generator)
            self._starts = offset + self.context_length * torch.randperm(self.per_epoch, generator=generator)
            self._epoch = epoch
        return self._starts

    def batch(self, step: int) -> tuple[Int[Tensor, "batch context"], Int[Tensor, "batch context"]]:
        """Inputs and targets of a step, counted from 0; the targets are the inputs moved by one."""
        chosen = []
        for window in range(step * self.batch_size, (step + 1) * self.batch_size):
            chosen.append(self.starts(window // self.per_epoch)[window % self.per_epoch])
        windows = torch.stack(chosen)[:, None] + torch.arange(self.context_length + 1)
        tokens = self.ids[windows]
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def windows(
    ids: Int[Tensor, " tokens"], context_length: int
) -> tuple[Int[Tensor, "n context"], Int[Tensor, "n context"]]:
    """All non-overlapping windows of a sequence, from its start, with their targets: the validation protocol.

    A remainder shorter than a window is left out. ValueError where not one window fits.
    """
    n = (len(ids) - 1) // context_length
    if n < 1:
        raise ValueError(
            f"text: {len(ids)} validation tokens; context_length = {context_length} needs one more than that"
        )
    end = n * context_length
    return ids[:end].view(n, context_length), ids[1 : end + 1].view(n, context_length)
