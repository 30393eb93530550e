"""Files of a run: the model (config.json, model.safetensors), its tokenizer, and the training state.

Every file is written atomically. The training state holds the weights as well, so that it is consistent by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lets_build_gpt._common.atomic import read_json_object, write_json
from lets_build_gpt._common.pretrained import find_run
from lets_build_gpt._common.run_folder import CONFIG, TOKENIZER, TRAINING_STATE, WEIGHTS
from lets_build_gpt._common.tensors import load_weights, read_tensors, write_tensors
from lets_build_gpt.config import ModelConfig
from lets_build_gpt.model import Model
from lets_build_gpt.tokenizer import CharTokenizer

STATE_KEY = "lets_build_gpt"  # of the JSON inside the metadata of a safetensors file


@dataclass
class TrainState:
    """The numbers of a training run that are not tensors.

    run_id: see `run_id_of`. step: optimizer steps done. best_step, best_val_loss: of the lowest validation loss so far.
    recent: training losses since the last line of metrics. scaler: state of the float16 gradient scaler.
    """

    run_id: str = ""
    step: int = 0
    val_loss: float | None = None
    best_step: int | None = None
    best_val_loss: float | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    recent: list[float] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)


# settings that do not shape the trajectory, so that a resumed run may change them
NOT_COMPARED = (
    "text", "device", "num_threads", "eval_every", "checkpoint_every", "sample_tokens", "steps", "version",
    "extended_steps",
)  # fmt: skip


def run_id_of(settings: Mapping[str, Any]) -> str:
    """Return a hash of the settings in config.json that shape the trajectory: equal for the files of one run."""

    def compared(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: compared(value[key]) for key in sorted(value) if key not in NOT_COMPARED}

    return hashlib.sha256(json.dumps(compared(settings)).encode()).hexdigest()[:16]


def package_version() -> str:
    """Return the version of this package, as config.json stores it."""
    return metadata.version("dlpapers-lets-build-gpt")


def _own_weights(model: Model) -> dict[str, Tensor]:
    """Return the weights without the second name of a tied matrix: safetensors stores no tensor twice."""
    weights = model.state_dict()
    if model.config.tie_embeddings:
        del weights["head.weight"]
    return weights


def _load_own_weights(model: Model, weights: dict[str, Tensor], where: Path) -> None:
    if model.config.tie_embeddings and "token_embedding.weight" in weights:
        weights["head.weight"] = weights["token_embedding.weight"]
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{where}: tensor {name} holds NaN or infinity")
    load_weights(model, weights, where)


# --------------------------------------------------------------------------------------------------- models


def save_weights(model: Model, path: Path, **values: object) -> None:
    """Write the weights of a model; `values` go to the file's metadata as JSON."""
    # one key, because safetensors writes several in random order: equal weights would give different files
    write_tensors(path, _own_weights(model), {STATE_KEY: json.dumps(values)})


def save_model(model: Model, folder: str | os.PathLike[str]) -> None:
    """Write config.json and model.safetensors."""
    folder = Path(folder)
    write_json(folder / CONFIG, {"model": asdict(model.config), "version": package_version()})
    save_weights(model, folder / WEIGHTS)


def read_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of config.json. Raises: ValueError that names the file if it is missing or damaged."""
    folder = find_run(folder, "lets_build_gpt")
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{path}: not found. Is {folder} a run folder?")
    return read_json_object(path)


def _new_model(settings: dict[str, Any], path: Path) -> Model:
    """Return an untrained model of the shape that config.json describes."""
    values = settings.get("model")
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must hold the settings of a model under `model`")
    try:
        config = ModelConfig(**values)
    except TypeError as error:
        raise ValueError(f"{path}: not a model of lets-build-gpt ({error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Model.from_config(config)


def load_model(folder: str | os.PathLike[str], *, last: bool = False) -> Model:
    """Return the model of a folder, or the shipped model `pretrained:NAME`, in evaluation mode and float32.

    last: take the weights of a run's last checkpoint instead of those with the lowest validation loss.
    Raises: ValueError that names the file if one is missing, damaged, not finite, or does not fit the other.
    """
    folder = find_run(folder, "lets_build_gpt")
    settings = read_settings(folder)
    model = _new_model(settings, folder / CONFIG)
    path = folder / (TRAINING_STATE if last else WEIGHTS)
    weights, about = read_tensors(path)
    if last:
        weights = {name.removeprefix("model."): t for name, t in weights.items() if name.startswith("model.")}
    _load_own_weights(model, weights, path)
    if "train" in settings:
        check_run_id(about, run_id_of(settings), path)
    return model.eval()


def check_run_id(about: dict[str, str], run_id: str, path: Path) -> None:
    """Raise ValueError if the metadata of a safetensors file names another run. A file without metadata passes."""
    try:
        found = json.loads(about.get(STATE_KEY, "{}")).get("run_id", "")
    except (ValueError, AttributeError):
        found = ""
    if found and run_id and found != run_id:
        raise ValueError(f"{path}: belongs to another run than {CONFIG}")


def load_run(folder: str | os.PathLike[str], *, last: bool = False) -> tuple[Model, CharTokenizer]:
    """Return the model and the tokenizer of a run. `last` and exceptions: see `load_model`."""
    folder = find_run(folder, "lets_build_gpt")
    model = load_model(folder, last=last)
    tokenizer = CharTokenizer.load(folder / TOKENIZER)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"{folder / TOKENIZER}: must have the model's {model.config.vocab_size} characters, "
            f"got {tokenizer.vocab_size}"
        )
    return model, tokenizer


# ------------------------------------------------------------------------------------------- training state


def save_training_state(path: Path, model: Model, optimizers: list[torch.optim.Optimizer], state: TrainState) -> None:
    """Write everything that a resumed run needs into one file."""
    tensors = {f"model.{name}": tensor for name, tensor in _own_weights(model).items()}
    for number, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{key}": tensor for key, tensor in values.items()}
    write_tensors(path, tensors, {STATE_KEY: json.dumps(asdict(state), allow_nan=False)})


def _state_of(about: dict[str, str], path: Path) -> TrainState:
    try:
        return TrainState(**json.loads(about[STATE_KEY]))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: not a training state of lets-build-gpt") from None


def read_train_state(path: Path) -> TrainState:
    """Return the numbers of a training state. Raises: ValueError that names the file if it is something else."""
    return _state_of(read_tensors(path)[1], path)


def load_training_state(
    path: Path, model: Model, optimizers: list[torch.optim.Optimizer], run_id: str = ""
) -> TrainState:
    """Restore the weights and the optimizers, and return the other numbers.

    Raises: ValueError that names the file if it is missing, damaged, or belongs to another run, model or optimizer.
    """
    tensors, about = read_tensors(path)
    state = _state_of(about, path)
    check_run_id(about, run_id, path)
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    restored = []
    for number, optimizer in enumerate(optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        prefix = f"optimizer.{number}."
        entries = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        keys = ("momentum_buffer",) if "momentum" in optimizer.defaults else ("step", "exp_avg", "exp_avg_sq")
        expected = {f"{i}.{key}": p.shape for i, p in enumerate(parameters) for key in keys} if state.step else {}
        for name in sorted(expected.keys() | entries.keys()):
            if name not in expected or name not in entries:
                raise ValueError(f"{path}: tensor {prefix}{name} is {'missing' if name in expected else 'unknown'}")
            if entries[name].shape not in (expected[name], ()):
                raise ValueError(f"{path}: tensor {prefix}{name} must have shape {tuple(expected[name])}")
        values: dict[int, dict[str, Tensor]] = {}
        for name, tensor in entries.items():
            index, _, key = name.partition(".")
            values.setdefault(int(index), {})[key] = tensor
        restored.append(values)
    _load_own_weights(model, weights, path)
    for optimizer, values in zip(optimizers, restored, strict=True):
        optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
    return state
