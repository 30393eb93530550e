"""Read and write the files of a run folder: configuration, weights, training state."""
# Replace: nothing, unless the training state of your paper holds more than weights and optimizer (an EMA, a queue).

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from MODULE._common.atomic import read_json_object
from MODULE._common.run_folder import CONFIG, TOKENIZER, WEIGHTS
from MODULE._common.tensors import load_weights, read_tensors, write_tensors
from MODULE.config import DataConfig, ModelConfig, TrainConfig
from MODULE.data import CharTokenizer
from MODULE.model import Model


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of config.json. Raises: ValueError if it is not that of a run."""
    settings = read_json_object(folder / CONFIG)
    try:
        ModelConfig(**settings["model"])
        TrainConfig(**settings["train"])
        DataConfig(settings["data"]["held_out"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG}: not the configuration of a run ({error})") from None
    return settings


def load_run(folder: Path, device: torch.device | str = "cpu") -> tuple[Model, CharTokenizer, dict[str, Any]]:
    """Return the model of a run in evaluation mode, its tokenizer, and its settings.

    Raises: ValueError that names the file that is missing or damaged.
    """
    settings = read_settings(folder)
    tokenizer = CharTokenizer.load(folder / TOKENIZER)
    model = Model(ModelConfig(**settings["model"]), tokenizer.vocab_size)
    weights, _ = read_tensors(folder / WEIGHTS)
    load_weights(model, weights, folder / WEIGHTS)
    return model.to(device).eval(), tokenizer, settings


def write_state(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write a training state: tensors, and `state` as JSON in the metadata."""
    write_tensors(path, tensors, {"state": json.dumps(state, allow_nan=False)})


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the JSON state. Raises: ValueError that names the file if it is missing or damaged."""
    tensors, metadata = read_tensors(path)
    try:
        state = json.loads(metadata["state"])
        return tensors, {key: state[key] for key in ("step", "wall_seconds", "cpu_seconds")}
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: not a training state of this package") from None
