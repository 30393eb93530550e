"""Save and load a training run: its configuration, tokenizer, weights and training state.

Both safetensors files carry the id of the run, a hash of its settings and vocabulary. So files of different runs are
refused, even if their shapes match. The training state holds the weights, too: it is one consistent file, whenever the
process was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from attention_numpy._common.atomic import read_json_object, write_json
from attention_numpy._common.pretrained import find_run
from attention_numpy._common.run_folder import CONFIG, TOKENIZER, TRAINING_STATE, WEIGHTS
from attention_numpy.config import DataConfig, LanguageModelConfig, TrainConfig, TransformerConfig, config_from_json
from attention_numpy.data import BOS_ID, EOS_ID, CharTokenizer, Task, task_of
from attention_numpy.language_model import LanguageModel
from attention_numpy.layers import Rng
from attention_numpy.model import Transformer
from attention_numpy.module import Array
from attention_numpy.safetensors_io import read_safetensors, write_safetensors

# settings that do not shape the trajectory; a text is compared by its fingerprint instead of its path
NOT_COMPARED = ("version", "text", "eval_every", "eval_count", "checkpoint_every")


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run: the same configuration gives the same losses."""

    model: TransformerConfig | LanguageModelConfig
    train: TrainConfig
    data: DataConfig
    fingerprint: str | None = None
    """Hash of the text that is trained on."""

    def to_json(self) -> dict[str, Any]:
        """Return what config.json holds."""
        data = asdict(self.data) | {"text": None if self.data.text is None else str(self.data.text)}
        return {
            "model": asdict(self.model),
            "train": asdict(self.train),
            "data": data | {"fingerprint": self.fingerprint},
            "version": metadata.version("dlpapers-attention-numpy"),
        }

    def run_id(self, tokenizer: Task | CharTokenizer) -> str:
        """Return a hash of the settings that shape the trajectory, the number of steps aside, and of the vocabulary."""
        settings = self.to_json() | {"tokenizer": tokenizer.to_json()}
        kept = {
            group: {k: v for k, v in values.items() if k not in (*NOT_COMPARED, "steps")}
            for group, values in settings.items()
            if group not in NOT_COMPARED
        }
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def build_model(config: TransformerConfig | LanguageModelConfig, seed: int) -> Transformer | LanguageModel:
    """Return a new model."""
    if isinstance(config, TransformerConfig):
        return Transformer(config, seed=seed)
    return LanguageModel(config, seed=seed)


def read_config(folder: Path) -> RunConfig:
    """Return the configuration of a run. Raises: ValueError if there is none in `folder`, or not a valid one."""
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{path}: not found. Is {folder} a run folder? `attention-numpy train` writes one")
    saved = read_json_object(path)
    for group in ("model", "train", "data"):
        if not isinstance(saved.get(group), Mapping):
            raise ValueError(f"{path}: `{group}` must be a JSON object")
    data = config_from_json(DataConfig, saved["data"], f"{path}: data")
    kind: Any = LanguageModelConfig if data.task == "text" else TransformerConfig
    model = config_from_json(kind, saved["model"], f"{path}: model")
    train = config_from_json(TrainConfig, saved["train"], f"{path}: train")
    fingerprint = saved["data"].get("fingerprint")
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise ValueError(f"{path}: `fingerprint` must be a string")
    return RunConfig(model, train, data, fingerprint)


def read_tokenizer(folder: Path, config: RunConfig) -> Task | CharTokenizer:
    """Return the tokenizer of a run. Raises: ValueError if it does not belong to the configuration."""
    path = folder / TOKENIZER
    saved = read_json_object(path)
    if isinstance(config.model, TransformerConfig):
        task = task_of(config.data)
        if saved != task.to_json():
            raise ValueError(f"{path}: does not belong to task {config.data.task}")
        return task
    characters = saved.get("characters")
    if not isinstance(characters, list) or len(characters) != config.model.vocab_size:
        raise ValueError(f"{path}: must hold {config.model.vocab_size} characters, as {CONFIG} says")
    try:
        return CharTokenizer(characters)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def write_config(folder: Path, config: RunConfig, tokenizer: Task | CharTokenizer) -> None:
    """Write config.json and tokenizer.json."""
    write_json(folder / TOKENIZER, tokenizer.to_json())
    write_json(folder / CONFIG, config.to_json())


def save_weights(folder: Path, run_id: str, step: int, weights: Mapping[str, Array]) -> None:
    """Write model.safetensors."""
    write_safetensors(folder / WEIGHTS, weights, {"run": run_id, "step": str(step)})


def save_state(folder: Path, run_id: str, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> None:
    """Write training_state.safetensors: arrays, and a JSON state in the metadata."""
    write_safetensors(folder / TRAINING_STATE, arrays, {"run": run_id, "state": json.dumps(state, allow_nan=False)})


def read_checkpoint(path: Path, run_id: str) -> tuple[dict[str, Array], dict[str, str]]:
    """Return arrays and metadata of one of the two files. Raises: ValueError if it belongs to another run."""
    if not path.is_file():
        raise ValueError(f"{path}: not found. The run has no checkpoint yet")
    arrays, found = read_safetensors(path)
    if found.get("run") != run_id:
        raise ValueError(f"{path}: belongs to another run than {CONFIG} and {TOKENIZER} beside it")
    return arrays, found


def saved_step(folder: Path) -> int:
    """Return the step of a run's training state. Raises: ValueError if it cannot be read."""
    path = folder / TRAINING_STATE
    try:
        return int(json.loads(read_safetensors(path)[1]["state"])["step"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a training state ({error!r})") from None


def rng_state(rng: Rng) -> dict[str, Any]:
    """Return the state of a generator as JSON can hold it."""
    state: dict[str, Any] = dict(rng.bit_generator.state)
    inner = dict(state["state"])
    inner["state"] = inner["state"].tolist()
    return {**state, "state": inner}


def set_rng_state(rng: Rng, saved: Mapping[str, Any]) -> None:
    """Restore what `rng_state` returned."""
    inner = {**saved["state"], "state": np.array(saved["state"]["state"], np.uint64)}
    rng.bit_generator.state = {**saved, "state": inner}


@dataclass(frozen=True)
class Run:
    """A trained model with its tokenizer and configuration."""

    config: RunConfig
    tokenizer: Task | CharTokenizer
    model: Transformer | LanguageModel

    @property
    def is_language_model(self) -> bool:
        """Whether the run is a language model; else it is an encoder-decoder."""
        return isinstance(self.model, LanguageModel)

    def translate(self, text: str, beam_size: int = 1) -> str:
        """Return the translation of a text. Raises: ValueError for a language model, and for unknown symbols."""
        if not isinstance(self.model, Transformer) or not isinstance(self.tokenizer, Task):
            raise ValueError("this run holds a language model, which does not translate")
        source = self.tokenizer.encode(text)
        output = self.model.generate(source, bos_id=BOS_ID, eos_id=EOS_ID, beam_size=beam_size)[0]
        return self.tokenizer.decode(output)


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Return the run in a folder, or the shipped model `pretrained:NAME`, its model in evaluation mode.

    Raises: ValueError that names the file if one is missing, damaged, or belongs to another run.
    """
    folder = find_run(folder, "attention_numpy")
    config = read_config(folder)
    tokenizer = read_tokenizer(folder, config)
    model = build_model(config.model, config.train.seed)
    path = folder / WEIGHTS
    arrays, _ = read_checkpoint(path, config.run_id(tokenizer))
    try:
        model.load_state_dict(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Run(config, tokenizer, model.eval())
