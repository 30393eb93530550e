"""What a run keeps on disk: weights and settings (safetensors, JSON), and the state that --resume goes on from.

Every file is written under a temporary name and renamed, so that an interrupted run leaves the previous one whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from lets_build_gpt.config import ModelConfig
from lets_build_gpt.model import Model
from lets_build_gpt.tokenizer import CharTokenizer

CONFIG, WEIGHTS, CHECKPOINT, METRICS, VOCABULARY = (
    "config.json",
    "model.safetensors",
    "checkpoint.pt",
    "metrics.jsonl",
    "vocabulary.json",
)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a temporary file beside `path`, then put it in the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON, indented."""
    write_atomically(path, lambda p: p.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ValueError where the file holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no JSON object")
    return content


def save_model(model: Model, folder: str | Path, **more: object) -> None:
    """Write config.json (with whatever else it is given) and model.safetensors."""
    folder = Path(folder)
    write_json(folder / CONFIG, {"model": asdict(model.config), **more})
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_embeddings:
        del weights["head.weight"]  # the token embedding's; safetensors stores no tensor twice
    write_atomically(folder / WEIGHTS, lambda path: save_file(weights, path))


def load_model(folder: str | Path) -> Model:
    """The model of a folder, in evaluation mode; ValueError where files are damaged or do not fit each other."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder}: no {CONFIG}; is it the folder of a run?")
    try:
        model = Model.from_config(ModelConfig(**read_json(folder / CONFIG)["model"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG}: not the settings of a model ({error})") from error
    try:
        weights = load_file(folder / WEIGHTS)
    except (safetensors.SafetensorError, FileNotFoundError) as error:
        raise ValueError(f"{folder / WEIGHTS}: cannot be read ({error})") from error
    if model.config.tie_embeddings and "token_embedding.weight" in weights:
        weights["head.weight"] = weights["token_embedding.weight"]
    fit = {name: tuple(t.shape) for name, t in weights.items()}
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    if fit != wanted:
        odd = sorted(name for name in {**fit, **wanted} if fit.get(name) != wanted.get(name))
        raise ValueError(
            f"{folder / WEIGHTS}: {odd[0]} has shape {fit.get(odd[0])}, {CONFIG} asks for {wanted.get(odd[0])}"
        )
    model.load_state_dict(weights)
    return model.eval()


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write all that a training run needs to go on, as one file: it is whole or it is the previous one."""
    write_atomically(folder / CHECKPOINT, lambda path: torch.save(state, path))


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read what save_checkpoint wrote; ValueError where there is none or it is damaged."""
    path = folder / CHECKPOINT
    if not path.is_file():
        raise ValueError(f"{path}: not there; --resume goes on from a run that was begun without it")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its unpickler or zip reader happens to
        raise ValueError(f"{path}: cannot be read ({error})") from error
    return state


def load_run(folder: str | Path) -> tuple[Model, CharTokenizer]:
    """The model and the vocabulary of a run; ValueError where one is missing, damaged or not the other's."""
    model = load_model(folder)
    tokenizer = CharTokenizer.load(Path(folder) / VOCABULARY)
    if tokenizer.n_vocab != model.config.n_vocab:
        raise ValueError(
            f"{folder}: {tokenizer.n_vocab} characters in {VOCABULARY}, {model.config.n_vocab} in the model"
        )
    return model, tokenizer
