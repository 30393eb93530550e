"""What a run trains on: its configuration, its batches, and how it is measured on what it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attention_numpy.language_model import LanguageModel, LanguageModelConfig
from attention_numpy.layer import Array
from attention_numpy.layers import Rng, new_rng
from attention_numpy.loss import cross_entropy
from attention_numpy.model import Transformer, TransformerConfig
from attention_numpy.optim import LinearSchedule, NoamSchedule, Schedule
from attention_numpy.tasks import BOS, EOS, PAD, Task, TaskName, make_task


@dataclass(frozen=True)
class TrainConfig:
    """All that determines a training run: the same configuration gives the same curve."""

    task: TaskName | Literal["text"] = "number-words"
    digits: int = 3
    """Of the numbers to add (task addition)."""
    sum_reversed: bool = True
    """Whether the sum is written from its last digit to its first (task addition)."""
    sparse: float = 0.5
    """Share of the training pairs with zeros for half of their digits, which teach where to look (task addition)."""
    text: str | None = None
    """A text file to model character by character (task text)."""
    steps: int = 1000
    batch: int = 64
    length: int = 64
    """Characters a sequence (task text)."""
    lr: float = 2e-3
    """The peak of the learning rate; with the Noam schedule, its factor."""
    warmup: int = 100
    schedule: Literal["linear", "noam"] = "linear"
    label_smoothing: float = 0.0
    clip: float = 1.0
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    d_ff: int = 256
    dropout: float = 0.0
    norm: Literal["post", "pre"] = "post"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "length", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} met, at least 1 is needed")
        if (self.task == "text") != (self.text is not None):
            raise ValueError("text: the task text needs a file, and no other task takes one")
        if not self.clip > 0:
            raise ValueError(f"clip: {self.clip} met, a number above 0 is needed")

    def learning_rate(self) -> Schedule:
        """The schedule that is asked for."""
        if self.schedule == "noam":
            return NoamSchedule(self.d_model, self.warmup, self.lr)
        return LinearSchedule(self.lr, min(self.warmup, self.steps), self.steps)


class TaskObjective:
    """A generated task for the encoder-decoder."""

    def __init__(self, config: TrainConfig) -> None:
        assert config.task != "text"
        self.task: Task = make_task(config.task, config.digits, config.sum_reversed, config.sparse)
        self.batch = config.batch

    def new_model(self, c: TrainConfig) -> Transformer:
        """A model whose vocabularies are the task's."""
        sizes = (c.d_model, c.n_heads, c.n_layers, c.d_ff, c.dropout, c.norm)
        return Transformer(TransformerConfig(len(self.task.source), len(self.task.target), *sizes), seed=c.seed)

    def draw(self, rng: Rng) -> tuple[tuple[Array, ...], Array, int | None]:
        """Inputs of the model, targets, and the id that does not count."""
        source, target = self.task.arrays(self.task.pairs(rng, self.batch, "train"))
        return (source, target[:, :-1]), target[:, 1:], PAD

    def evaluate(self, model: Any, count: int) -> dict[str, float]:
        """Loss a symbol, and the share of outputs that are right to the last symbol, decoded greedily.

        On `count` different inputs that are never trained on; on the same ones whenever it is asked.
        """
        pairs = sorted(self.task.pairs(new_rng(1), count, "held-out"), key=lambda pair: len(pair[0]))
        right, losses, symbols = 0, 0.0, 0
        for start in range(0, count, 250):
            source, target = self.task.arrays(pairs[start : start + 250])
            loss, _ = cross_entropy(model(source, target[:, :-1]), target[:, 1:], ignore_index=PAD)
            real = int((target[:, 1:] != PAD).sum())
            losses, symbols = losses + loss * real, symbols + real
            outputs = model.generate(source, bos=BOS, eos=EOS, max_length=target.shape[1] + 3)
            wanted = [[i for i in row[1:] if i not in (PAD, EOS)] for row in target.tolist()]
            right += sum(out == want for out, want in zip(outputs, wanted, strict=True))
        return {"val_loss": losses / symbols, "exact_match": right / count}

    def saved(self) -> dict[str, Any]:
        """What a run's config.json holds beside the configuration."""
        return {}


class TextObjective:
    """A text's characters for the decoder-only model. To use a finished run, its characters are enough."""

    def __init__(self, config: TrainConfig, characters: Sequence[str] | None = None) -> None:
        assert config.text is not None
        text = Path(config.text).read_text(encoding="utf-8") if characters is None else ""
        self.characters = sorted(set(text)) if characters is None else list(characters)
        self.ids = {c: i for i, c in enumerate(self.characters)}
        if characters is not None:
            return
        data = np.array([self.ids[c] for c in text])
        self.batch, self.length = config.batch, config.length
        split = len(data) * 9 // 10
        self.data, self.held_out = data[:split], data[split:]
        if min(len(self.data), len(self.held_out)) <= self.length:
            raise ValueError(f"text: {len(data)} characters met, more than {10 * self.length + 10} are needed")

    def new_model(self, c: TrainConfig) -> LanguageModel:
        """A model whose vocabulary is the text's characters."""
        sizes = (c.d_model, c.n_heads, c.n_layers, c.d_ff, c.dropout, c.norm)
        return LanguageModel(LanguageModelConfig(len(self.characters), *sizes), seed=c.seed)

    def draw(self, rng: Rng) -> tuple[tuple[Array, ...], Array, int | None]:
        """Windows of the text, and the same shifted by one."""
        starts = rng.integers(0, len(self.data) - self.length, self.batch)
        windows = self.data[starts[:, None] + np.arange(self.length + 1)]
        return (windows[:, :-1],), windows[:, 1:], None

    def evaluate(self, model: Any, count: int) -> dict[str, float]:
        """Loss a character, in nats, over at most `count` windows of the text's last tenth, never trained on."""
        count = max(1, min(count, (len(self.held_out) - 1) // self.length))
        windows = [self.held_out[i * self.length : (i + 1) * self.length + 1] for i in range(count)]
        losses = []
        for start in range(0, count, 64):
            part = np.array(windows[start : start + 64])
            losses.append((cross_entropy(model(part[:, :-1]), part[:, 1:])[0], len(part)))
        return {"val_loss": sum(loss * size for loss, size in losses) / count}

    def saved(self) -> dict[str, Any]:
        """What a run's config.json holds beside the configuration: the vocabulary."""
        return {"characters": self.characters}

    def encode(self, text: str) -> list[int]:
        """The ids of a text; ValueError for a character that the trained text did not hold."""
        for character in text:
            if character not in self.ids:
                raise ValueError(f"text: {character!r} does not occur in the text that was trained on")
        return [self.ids[c] for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return "".join(self.characters[i] for i in ids)


Objective = TaskObjective | TextObjective


def make_objective(config: TrainConfig, characters: Sequence[str] | None = None) -> Objective:
    """The objective of a configuration; `characters`: of a text run that is only to be used."""
    return TextObjective(config, characters) if config.task == "text" else TaskObjective(config)
