"""Fine-tuning on plain text, or on prompt/completion pairs whose loss covers the completion only."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt2._common.atomic import read_text
from gpt2._common.errors import check_fraction, check_integer, invalid
from gpt2.config import TrainConfig
from gpt2.data.token_file import IGNORE, Batch
from gpt2.data.tokenizers import Tokenizer
from gpt2.model import GPT2
from gpt2.pretrained.weights import State, save
from gpt2.training.lora import add_lora, merge_lora
from gpt2.training.run import RunStart
from gpt2.training.trainer import Trainer

Example = tuple[list[int], int]  # token ids, and how many leading ones are the prompt


class Examples:
    """Texts of different lengths as batches, padded at their ends; `Batches` for a Trainer.

    An example is its ids and the number of leading ids of the prompt, whose loss does not count. Each pass takes all
    examples once, shuffled for each pass. held_out: the fraction at the end that is kept for validation.
    Raises: ValueError if no example is left to train on or to hold out.
    """

    def __init__(self, examples: Sequence[Example], context_length: int, seed: int = 0, held_out: float = 0.1) -> None:
        check_fraction("held_out", held_out, zero=False)
        rows = [(ids[: context_length + 1], given) for ids, given in examples]
        rows = [(ids, given) for ids, given in rows if len(ids) > max(1, given)]
        held = max(1, round(len(rows) * held_out))
        if len(rows) <= held:
            raise invalid("text", "have at least 2 examples, to train and to hold out", len(rows))
        self.train, self.held, self.seed = rows[:-held], rows[-held:], seed

    def batch(self, step: int, size: int) -> Batch:
        """Return the examples of one step."""
        numbers = range(step * size, (step + 1) * size)
        orders = {e: self._pass(e) for e in {n // len(self.train) for n in numbers}}
        return _padded([self.train[orders[n // len(self.train)][n % len(self.train)]] for n in numbers])

    def _pass(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.train))

    def validation(self, size: int) -> Iterator[Batch]:
        """Yield the held-out examples."""
        for i in range(0, len(self.held), size):
            yield _padded(self.held[i : i + size])

    def settings(self) -> dict[str, Any]:
        """Return what shapes the batches."""
        content = json.dumps([self.train, self.held]).encode("ascii")
        fingerprint = hashlib.sha256(content).hexdigest()[:16]
        return {"fingerprint": fingerprint, "examples": len(self.train), "held_out": len(self.held)}


def _padded(rows: Sequence[Example]) -> Batch:
    longest = max(len(ids) for ids, _ in rows) - 1
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    targets = torch.full((len(rows), longest), IGNORE)
    for row, (text, given) in enumerate(rows):
        ids[row, : len(text) - 1] = torch.tensor(text[:-1])
        first = max(1, given)  # the first token is never predicted
        targets[row, first - 1 : len(text) - 1] = torch.tensor(text[first:])
    return ids, targets


def read_examples(path: Path, tokenizer: Tokenizer, context_length: int) -> list[Example]:
    """Return the pairs of a .jsonl file ({"prompt", "completion"} in each line), or the windows of a text file.

    Raises: ValueError that names file and line.
    """
    text = read_text(path)
    if path.suffix not in (".jsonl", ".ndjson"):
        try:
            ids = tokenizer.encode(text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return [(ids[i : i + context_length + 1], 0) for i in range(0, len(ids) - 1, context_length)]
    lines = enumerate(text.split("\n"), 1)
    return [_pair(line, tokenizer, context_length, f"{path}:{n}") for n, line in lines if line.strip()]


def _pair(line: str, tokenizer: Tokenizer, context_length: int, where: str) -> Example:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None
    texts = [record.get(key) if isinstance(record, dict) else None for key in ("prompt", "completion")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f'{where}: must be a JSON object whose "prompt" and "completion" are strings, got {line[:60]!r}'
        )
    try:
        prompt, completion = (tokenizer.encode(str(text)) for text in texts)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if len(prompt) + 1 > context_length:
        raise ValueError(f"{where}: the prompt must have fewer than {context_length} tokens, got {len(prompt)}")
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    return prompt + completion + end, len(prompt)


def make_finetuner(
    model: GPT2,
    data: Examples,
    config: TrainConfig,
    folder: str | Path,
    lora: int = 0,
    *,
    tokenizer: Tokenizer | None = None,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    on_step: Callable[[int], object] | None = None,
    say: Callable[[str], None] | None = None,
) -> Trainer:
    """Return a Trainer that trains all weights, or with lora > 0 low-rank updates of that rank only.

    With LoRA the model is changed in place, and the run folder gets a plain, merged model.
    """
    check_integer("lora", lora, 0)
    options: dict[str, Any] = {"tokenizer": tokenizer, "settings": {"lora": lora}}
    options |= {"on_log": on_log, "on_step": on_step, "say": say}
    if not lora:
        return Trainer(model, data, config, folder, **options)
    if config.parallel == "fsdp":
        raise invalid("parallel", "be ddp with LoRA, whose few weights need no sharding", "fsdp")
    torch.manual_seed(config.seed)
    add_lora(model, lora)

    def save_merged(path: Path, _: State) -> None:
        save(merge_lora(copy.deepcopy(model)), path)

    return Trainer(model, data, config, folder, save_model=save_merged, **options)


def finetune(
    model: GPT2,
    data: Examples,
    config: TrainConfig,
    folder: str | Path,
    lora: int = 0,
    *,
    tokenizer: Tokenizer | None = None,
    start: RunStart | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Continue training a model; return the last line of the metrics. See `make_finetuner` and `Trainer.fit`."""
    trainer = make_finetuner(model, data, config, folder, lora, tokenizer=tokenizer)
    return trainer.fit(start, overwrite=overwrite)
