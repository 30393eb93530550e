"""The training state in one safetensors file: weights, optimizer, step, random state. No pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from gpt2.pretrained import write_atomically
from gpt2.settings import TrainConfig

FILE = "training.safetensors"


def _named_states(model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Every tensor of the optimizers' states under the name of its parameter."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"optimizer.{names[parameter]}.{key}": value
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def trajectory(config: TrainConfig) -> str:
    """What must be equal for a resumed run to be the same run."""
    return repr((config.steps, config.batch_size, config.optim, config.seed))


def save_training(
    folder: Path, model: nn.Module, optimizers: Sequence[Optimizer], config: TrainConfig, progress: dict[str, Any]
) -> None:
    """Write the state; what was there stays until the new file is whole."""
    state = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    state |= _named_states(model, optimizers)
    state["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        state["random.cuda"] = torch.cuda.get_rng_state()
    state = {name: t.cpu().contiguous() for name, t in state.items()}
    notes = {"progress": json.dumps(progress), "trajectory": trajectory(config)}
    write_atomically(folder / FILE, lambda path: save_file(state, path, notes))


@torch.no_grad()
def load_training(
    folder: Path, model: nn.Module, optimizers: Sequence[Optimizer], config: TrainConfig
) -> dict[str, Any]:
    """Put the state back; returns the progress. ValueError for a state of another model or another run."""
    path = folder / FILE
    if not path.exists():
        raise ValueError(f"{folder}: holds no {FILE} to resume from")
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
            notes = file.metadata()
    except SafetensorError as error:
        raise ValueError(f"{path}: truncated, or not safetensors ({error})") from None
    if notes["trajectory"] != trajectory(config):
        raise ValueError(f"{path}: belongs to a run with other settings: {notes['trajectory']}")
    for name, parameter in model.named_parameters():
        found = state.get(f"model.{name}")
        if found is None or found.shape != parameter.shape:
            raise ValueError(f"{path}: {name} does not fit: the checkpoint is of another model")
        parameter.copy_(found)
    names = {p: name for name, p in model.named_parameters()}
    for optimizer in optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            start = f"optimizer.{names[parameter]}."
            found_state = {key.removeprefix(start): t for key, t in state.items() if key.startswith(start)}
            # a step count stays where the optimizer made it, all else goes to the parameter's device
            optimizer.state[parameter] = {k: t.to(parameter.device) for k, t in found_state.items()}
    torch.set_rng_state(state["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in state:
        torch.cuda.set_rng_state(state["random.cuda"])
    progress: dict[str, Any] = json.loads(notes["progress"])
    return progress
