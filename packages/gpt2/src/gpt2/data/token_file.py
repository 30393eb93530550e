"""Token files that may be larger than memory, and the batches that training reads from them.

`batch(step)` depends on the seed and the step alone. A run that resumes, or continues on another number of processes,
therefore gets the same batches in the same order; each process takes its rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gpt2._common.atomic import read_json_object
from gpt2._common.errors import check_choice, check_integer
from gpt2.config import Order
from gpt2.data.tokenizers import Tokenizer, fingerprint, make

Batch = tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]
INDEX = "index.json"
INDEX_VERSION = 2
IGNORE = -100  # a target without weight in the loss


@runtime_checkable
class Batches(Protocol):
    """Source of training batches and held-out batches."""

    def batch(self, step: int, size: int) -> Batch:
        """Return ids and targets of one step, (size, time) each."""

    def validation(self, size: int) -> Iterator[Batch]:
        """Yield the held-out part once, in batches of `size`."""

    def settings(self) -> dict[str, Any]:
        """Return what shapes the batches, for comparison when a run is resumed."""


class TokenFiles:
    """The shards that `prepare` wrote, as one sequence of memory-mapped tokens.

    The last `held_out` tokens of the index are for validation.
    Raises: ValueError for a folder that is not complete.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.index = _read_index(self.folder)
        dtype = np.dtype(self.index["dtype"])
        self.shards = []
        for shard in self.index["shards"]:
            path = self.folder / shard["file"]
            if not path.is_file() or path.stat().st_size != shard["tokens"] * dtype.itemsize:
                raise ValueError(f"{path}: missing, or does not have the {shard['tokens']} tokens that {INDEX} states")
            self.shards.append(np.memmap(path, dtype, "r"))
        self.ends = np.cumsum([len(s) for s in self.shards])
        self.tokens = int(self.ends[-1])
        self.train_tokens = self.tokens - int(self.index["held_out"])

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer that made the files. Raises: ValueError if the one in the folder is another one."""
        tokenizer = make(self.folder / "tokenizer.json")
        if fingerprint(tokenizer) != self.index["tokenizer"]:
            raise ValueError(f"{self.folder / 'tokenizer.json'}: not the tokenizer that made these token files")
        return tokenizer

    def read(self, start: int, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return tokens start to start + length, across shards."""
        parts, position = [], start
        while position < start + length:
            shard = int(np.searchsorted(self.ends, position, side="right"))
            offset = position - (int(self.ends[shard - 1]) if shard else 0)
            part = self.shards[shard][offset : offset + start + length - position]
            parts.append(part.astype(np.int64))
            position += len(part)
        return np.concatenate(parts)

    def fingerprint(self) -> str:
        """Return the first 16 hex digits of a hash of all tokens, from the hashes of the shards in the index."""
        hashes = "".join(shard["sha256"] for shard in self.index["shards"])
        return hashlib.sha256(hashes.encode("ascii")).hexdigest()[:16]

    def settings(self) -> dict[str, Any]:
        """Return what identifies these token files."""
        return {
            "fingerprint": self.fingerprint(),
            "tokenizer": self.index["tokenizer"],
            "tokens": self.tokens,
            "held_out": self.tokens - self.train_tokens,
        }


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not path.exists():
        raise ValueError(f"{folder}: has no {INDEX}. Write one with `gpt2 prepare FILES --out {folder}`")
    index = read_json_object(path)
    keys = {"tokenizer", "dtype", "held_out", "shards"}
    if index.get("version") != INDEX_VERSION or not keys <= index.keys() or not index["shards"]:
        raise ValueError(f"{path}: not an index of token files of this version. Run `gpt2 prepare` again")
    return index


class Windows:
    """Batches of windows of `context_length` tokens from token files.

    order="random": windows start anywhere, sampled at each step.
    order="epochs": each window of a pass once, shuffled for each pass.
    eval_windows: number of held-out windows in an evaluation; 0: all.
    """

    def __init__(
        self,
        files: TokenFiles,
        context_length: int,
        seed: int = 0,
        order: Order = "random",
        eval_windows: int = 0,
    ) -> None:
        check_choice("order", order, [o for o in get_args(Order) if o != "documents"])
        check_integer("context_length", context_length, 1)
        check_integer("eval_windows", eval_windows, 0)
        if files.train_tokens <= context_length:
            raise ValueError(
                f"`context_length` must be less than the {files.train_tokens} training tokens of {files.folder}, "
                f"got {context_length}"
            )
        self.files, self.length, self.seed, self.order = files, context_length, seed, order
        self.eval_windows = eval_windows

    def batch(self, step: int, size: int) -> Batch:
        """Return the windows of one step: ids (size, time) and the tokens after them."""
        return self._windows(self.starts(step, size))

    def starts(self, step: int, size: int) -> list[int]:
        """Return where the windows of a step start."""
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
        """Yield non-overlapping windows of the held-out part in order."""
        first, length = self.files.train_tokens, self.length
        count = (self.files.tokens - first - 1) // length
        starts = [first + i * length for i in range(count)][: self.eval_windows or None]
        for i in range(0, len(starts), size):
            yield self._windows(starts[i : i + size])

    def settings(self) -> dict[str, Any]:
        """Return what shapes the batches."""
        return {**self.files.settings(), "order": self.order, "eval_windows": self.eval_windows}

    def _windows(self, starts: list[int]) -> Batch:
        rows = torch.from_numpy(np.stack([self.files.read(s, self.length + 1) for s in starts]))
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
