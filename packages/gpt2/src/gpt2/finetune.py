"""Fine-tuning: plain text, or prompt/completion pairs whose loss counts the completion only."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt2.data import IGNORE, Batch
from gpt2.lora import add_lora, merge_lora
from gpt2.model import GPT2
from gpt2.pretrained import State, save
from gpt2.settings import TrainConfig
from gpt2.tokenizers import Tokenizer
from gpt2.train import Trainer


class Examples:
    """Texts of different lengths as batches, padded at their end; `Batches` for a Trainer.

    An example is its ids and the number of leading ids that are given (the prompt): their loss does not count.
    Every pass takes all examples once, in an order drawn anew.
    """

    def __init__(
        self,
        examples: Sequence[tuple[list[int], int]],
        context_length: int,
        seed: int = 0,
        held_out: float = 0.1,
    ) -> None:
        rows = [(ids[: context_length + 1], given) for ids, given in examples]
        rows = [(ids, given) for ids, given in rows if len(ids) > max(1, given)]
        held = max(1, round(len(rows) * held_out))
        if len(rows) <= held:
            raise ValueError(f"text: {len(rows)} examples are too few to train on some and hold some out")
        self.train, self.held, self.seed = rows[:-held], rows[-held:], seed

    def batch(self, step: int, size: int) -> Batch:
        """The examples of one step."""
        numbers = range(step * size, (step + 1) * size)
        orders = {e: self._pass(e) for e in {n // len(self.train) for n in numbers}}
        return _padded([self.train[orders[n // len(self.train)][n % len(self.train)]] for n in numbers])

    def _pass(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.train))

    def validation(self, size: int) -> Iterator[Batch]:
        """The held-out examples."""
        for i in range(0, len(self.held), size):
            yield _padded(self.held[i : i + size])


def _padded(rows: Sequence[tuple[list[int], int]]) -> Batch:
    longest = max(len(ids) for ids, _ in rows) - 1
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    targets = torch.full((len(rows), longest), IGNORE)
    for row, (text, given) in enumerate(rows):
        ids[row, : len(text) - 1] = torch.tensor(text[:-1])
        first = max(1, given)  # the first token is never predicted
        targets[row, first - 1 : len(text) - 1] = torch.tensor(text[first:])
    return ids, targets


def read_examples(path: Path, tokenizer: Tokenizer, context_length: int) -> list[tuple[list[int], int]]:
    """Pairs from .jsonl ({"prompt", "completion"} a line), or windows of a text file."""
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8") from None
    if path.suffix != ".jsonl":
        ids = tokenizer.encode(text)
        return [(ids[i : i + context_length + 1], 0) for i in range(0, len(ids) - 1, context_length)]
    examples = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                pair = json.loads(line)
                prompt, completion = tokenizer.encode(pair["prompt"]), tokenizer.encode(pair["completion"])
            except (json.JSONDecodeError, KeyError, TypeError):
                raise ValueError(f'{path}: line {number} is no JSON object with "prompt" and "completion"') from None
            if len(prompt) + 1 > context_length:
                raise ValueError(f"{path}: line {number}: a prompt of {len(prompt)} tokens fills the context")
            examples.append((prompt + completion + end, len(prompt)))
    return examples


def finetune(
    model: GPT2,
    data: Examples,
    config: TrainConfig,
    folder: Path,
    lora: int = 0,
    **callbacks: Any,
) -> dict[str, Any]:
    """Go on training a model, all of it or with LoRA of a rank; the run's folder holds a plain, merged model.

    Returns the last log entry. `callbacks`: on_log and on_step of a Trainer.
    """
    if not lora:
        return Trainer(model, data, config, folder, **callbacks).run()
    if config.parallel == "fsdp":
        raise ValueError("lora: its few weights need no fsdp; use ddp")
    torch.manual_seed(config.seed)
    add_lora(model, lora)

    def save_merged(path: Path, _: State) -> None:
        save(merge_lora(copy.deepcopy(model)), path)

    return Trainer(model, data, config, folder, save_model=save_merged, **callbacks).run()
