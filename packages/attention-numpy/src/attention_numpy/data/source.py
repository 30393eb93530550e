"""What a Trainer samples batches from and is evaluated on: a synthetic task or a text file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Protocol

from attention_numpy.config import DataConfig, LanguageModelConfig, ModelConfig, TransformerConfig
from attention_numpy.data import PAD_ID, CharTokenizer, Task, TextFile, task_of
from attention_numpy.layers import Rng, new_rng
from attention_numpy.module import Array

EVALUATION_SEED = 1  # every evaluation uses the same held-out inputs


class Source(Protocol):
    """Training batches, and what identifies them."""

    @property
    def tokenizer(self) -> Task | CharTokenizer:
        """Maps text to ids and back."""

    @property
    def fingerprint(self) -> str | None:
        """Hash of the data; None where the configuration determines them."""

    ignore_index: int | None

    def model_config(self, sizes: ModelConfig) -> TransformerConfig | LanguageModelConfig:
        """Return the configuration of a model of these sizes for the data's vocabularies."""

    def batch(self, rng: Rng, batch_size: int) -> tuple[tuple[Array, ...], Array]:
        """Sample the inputs of the model, and the targets."""


class TaskSource:
    """A synthetic task for the encoder-decoder.

    Raises: ValueError if the task has fewer than `eval_count` held-out inputs.
    """

    ignore_index: int | None = PAD_ID
    fingerprint: str | None = None

    def __init__(self, config: DataConfig, eval_count: int) -> None:
        self.tokenizer: Task = task_of(config)
        pairs = self.tokenizer.held_out_pairs(new_rng(EVALUATION_SEED), eval_count)
        self.held_out = sorted(pairs, key=lambda pair: len(pair[0]))

    def model_config(self, sizes: ModelConfig) -> TransformerConfig:
        """Return the configuration of an encoder-decoder."""
        return TransformerConfig(len(self.tokenizer.source), len(self.tokenizer.target), **asdict(sizes))

    def batch(self, rng: Rng, batch_size: int) -> tuple[tuple[Array, ...], Array]:
        """Sample source and target inputs, and the targets."""
        source, target = self.tokenizer.arrays(self.tokenizer.training_pairs(rng, batch_size))
        return (source, target[:, :-1]), target[:, 1:]


class TextSource:
    """A text file for the language model."""

    ignore_index: int | None = None

    def __init__(self, config: DataConfig, eval_count: int) -> None:
        if config.text is None:
            raise ValueError("`text` must be the path of a text file, got none. Add --text FILE")
        text = TextFile(config.text, config.context_length)
        self.text, self.tokenizer, self.fingerprint = text, text.tokenizer, text.fingerprint
        self.held_out = text.held_out_windows(eval_count)

    def model_config(self, sizes: ModelConfig) -> LanguageModelConfig:
        """Return the configuration of a language model."""
        return LanguageModelConfig(len(self.tokenizer.characters), **asdict(sizes))

    def batch(self, rng: Rng, batch_size: int) -> tuple[tuple[Array, ...], Array]:
        """Sample windows of the text, and the same shifted by one."""
        inputs, targets = self.text.batch(rng, batch_size)
        return (inputs,), targets


def open_source(config: DataConfig, eval_count: int) -> TaskSource | TextSource:
    """Return the data of a configuration. Raises: ValueError if they cannot be used."""
    return TextSource(config, eval_count) if config.task == "text" else TaskSource(config, eval_count)
