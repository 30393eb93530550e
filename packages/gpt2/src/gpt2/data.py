"""Token files that may be larger than memory, and the batches that training draws from them.

`batch(step)` is a function of the seed and the step alone. So a run that resumes, or goes on with another number
of processes, sees the same batches in the same order: each process takes its share of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gpt2.tokenizers import Tokenizer, from_description

Batch = tuple[Int[Tensor, "batch tokens"], Int[Tensor, "batch tokens"]]
INDEX = "index.json"
IGNORE = -100  # a target that counts nothing


@runtime_checkable
class Batches(Protocol):
    """Where training takes its batches from."""

    def batch(self, step: int, size: int) -> Batch:
        """Ids and targets of one step, (size, tokens) each."""

    def validation(self, size: int) -> Iterator[Batch]:
        """The held-out part, once, in batches of `size`."""


class TokenFiles:
    """The shards that `prepare` wrote, as one sequence of tokens; nothing is read before it is asked for.

    The last `held_out` tokens of the index are for validation.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.index = _read_index(self.folder)
        dtype = np.dtype(self.index["dtype"])
        self.shards = []
        for shard in self.index["shards"]:
            path = self.folder / shard["file"]
            if not path.exists() or path.stat().st_size != shard["tokens"] * dtype.itemsize:
                raise ValueError(f"{path}: missing, or not the {shard['tokens']} tokens that {INDEX} says")
            self.shards.append(np.memmap(path, dtype, "r"))
        self.ends = np.cumsum([len(s) for s in self.shards])
        self.tokens = int(self.ends[-1])
        self.train_tokens = self.tokens - int(self.index["held_out"])

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the files were made with."""
        return from_description(self.index["tokenizer"], self.folder)

    def read(self, start: int, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Tokens start to start + length, across shards."""
        parts, position = [], start
        while position < start + length:
            shard = int(np.searchsorted(self.ends, position, side="right"))
            begin = position - (int(self.ends[shard - 1]) if shard else 0)
            part = self.shards[shard][begin : begin + start + length - position]
            parts.append(part.astype(np.int64))
            position += len(part)
        return np.concatenate(parts)


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not path.exists():
        raise ValueError(f"{folder}: holds no {INDEX}; `gpt2 prepare FILES --out {folder}` writes one")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found.get("version") != 1 or not found.get("shards"):
        raise ValueError(f"{path}: not an index of token files")
    return found


class Windows:
    """Batches of windows of `context_length` tokens from token files.

    order="random": windows begin anywhere, drawn anew each step.
    order="epochs": every window of a pass once, in an order drawn anew each pass.
    """

    def __init__(
        self,
        files: TokenFiles,
        context_length: int,
        seed: int = 0,
        order: Literal["random", "epochs"] = "random",
        validation_windows: int | None = None,
    ) -> None:
        if order not in ("random", "epochs"):
            raise ValueError(f"order: {order!r} is neither random nor epochs")
        if files.train_tokens <= context_length:
            raise ValueError(
                f"{files.folder}: {files.train_tokens} tokens to train on, which is no window of {context_length} + 1"
            )
        self.files, self.length, self.seed, self.order = files, context_length, seed, order
        self.validation_windows = validation_windows

    def batch(self, step: int, size: int) -> Batch:
        """The windows of one step: ids (size, tokens), targets the tokens after them."""
        return self._windows(self.starts(step, size))

    def starts(self, step: int, size: int) -> list[int]:
        """Where the windows of a step begin."""
        if self.order == "random":
            generator = np.random.default_rng([self.seed, step])
            return [int(s) for s in generator.integers(0, self.files.train_tokens - self.length, size)]
        windows = (self.files.train_tokens - 1) // self.length
        numbers = range(step * size, (step + 1) * size)
        orders = {e: self._pass(e, windows) for e in {n // windows for n in numbers}}
        return [int(orders[n // windows][n % windows]) * self.length for n in numbers]

    def _pass(self, epoch: int, windows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.random.default_rng([self.seed, epoch]).permutation(windows)

    def validation(self, size: int) -> Iterator[Batch]:
        """Non-overlapping windows of the held-out part in order, at most `validation_windows` of them."""
        first, length = self.files.train_tokens, self.length
        count = (self.files.tokens - first - 1) // length
        starts = [first + i * length for i in range(count)][: self.validation_windows]
        for i in range(0, len(starts), size):
            yield self._windows(starts[i : i + size])

    def _windows(self, starts: list[int]) -> Batch:
        rows = torch.from_numpy(np.stack([self.files.read(s, self.length + 1) for s in starts]))
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
