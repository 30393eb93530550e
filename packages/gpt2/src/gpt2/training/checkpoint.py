"""The training state: weights, optimizer, step. In safetensors, never a pickle.

One process writes one file. Several write a folder with torch.distributed.checkpoint, each its own part; any number of
processes can read it. Random states are not stored: each step seeds its own (gpt2.training.trainer).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from gpt2._common.atomic import read_json_object, write_json
from gpt2._common.run_folder import TRAINING_STATE
from gpt2._common.tensors import write_tensors
from gpt2.training import distributed

PROGRESS = "progress.json"
Scaler = torch.amp.GradScaler


def _states(model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Return each parameter, and each tensor of the optimizers under its parameter's name."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    state = {f"model.{name}": p.detach() for p, name in names.items()}
    for optimizer in optimizers:
        for parameter, tensors in optimizer.state.items():
            state |= {f"optimizer.{names[parameter]}.{k}": t for k, t in tensors.items() if isinstance(t, Tensor)}
    return state


@torch.no_grad()
def _allocate(optimizers: Sequence[Optimizer]) -> None:
    """Make the optimizers allocate their states, with a step that changes no weight."""
    for optimizer in optimizers:
        rates = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = 0.0
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _folders(folder: Path) -> list[Path]:
    """Return the complete checkpoints of several processes, the latest last."""
    return sorted(path for path in folder.glob("training_state-*") if (path / PROGRESS).exists())


def save_training(
    folder: Path,
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    progress: dict[str, Any],
    scaler: Scaler | None = None,
) -> None:
    """Write the training state. An earlier one stays until the new one is complete."""
    notes = {"progress": progress, "scaler": scaler.state_dict() if scaler else {}}
    state = _states(model, optimizers)
    if not distributed.is_parallel():
        write_tensors(folder / TRAINING_STATE, state, {"state": json.dumps(notes, allow_nan=False)})
        for old in _folders(folder):
            shutil.rmtree(old)
        return
    path = folder / f"training_state-{progress['step']:09d}"
    temporary = path.with_name(f".{path.name}.tmp")
    if distributed.rank() == 0:
        shutil.rmtree(temporary, ignore_errors=True)
    dist.barrier()
    dcp = _dcp()
    dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(str(temporary), save_distributed=True))
    if distributed.rank() == 0:
        earlier = [p for p in _folders(folder) if p != path]
        write_json(temporary / PROGRESS, notes)
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        for old in earlier:
            shutil.rmtree(old)
        (folder / TRAINING_STATE).unlink(missing_ok=True)
    dist.barrier()


def read_progress(folder: Path) -> dict[str, Any] | None:
    """Return how far the run in a folder is, or None if it has no checkpoint.

    Raises: ValueError if the checkpoint is damaged.
    """
    path = _latest(folder)
    if not path.exists():
        return None
    progress: dict[str, Any] = _contents(path)[1]["progress"]
    return progress


@torch.no_grad()
def load_training(
    folder: Path, model: nn.Module, optimizers: Sequence[Optimizer], scaler: Scaler | None = None
) -> dict[str, Any]:
    """Restore the training state into model, optimizers, and scaler; return the progress.

    It may come from one process or any number of them.
    Raises: ValueError for a state of another model, or a damaged one.
    """
    path = _latest(folder)
    if not path.exists():
        raise ValueError(f"{folder / TRAINING_STATE}: not found. Is {folder} a run folder?")
    shapes, notes = _contents(path)
    _allocate(optimizers)
    state = _states(model, optimizers)
    for name, tensor in state.items():
        if shapes.get(name) != list(tensor.shape):
            raise ValueError(f"{path}: {name} does not fit: the checkpoint is of another model")
    if path.is_dir():
        _dcp().load(state, storage_reader=_dcp().HuggingFaceStorageReader(str(path)))
    else:
        with safe_open(path, framework="pt") as file:
            for name, tensor in state.items():
                tensor.copy_(distributed.shard_like(tensor, file.get_tensor(name).to(tensor.device)))
    if scaler is not None and notes["scaler"]:
        scaler.load_state_dict(notes["scaler"])
    progress: dict[str, Any] = notes["progress"]
    return progress


def _latest(folder: Path) -> Path:
    # a file beside a folder is older: see save_training
    return next(iter(reversed(_folders(folder))), folder / TRAINING_STATE)


def _dcp() -> Any:
    """Return torch.distributed.checkpoint, which takes a while to import."""
    from torch.distributed import checkpoint

    return checkpoint


def _contents(path: Path) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """Return the shapes of all tensors of a checkpoint, and its JSON state."""
    try:
        if path.is_dir():
            metadata = _dcp().HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
            shapes = {name: list(entry.size) for name, entry in metadata.items() if hasattr(entry, "size")}
            return shapes, read_json_object(path / PROGRESS)
        with safe_open(path, framework="pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            notes: dict[str, Any] = json.loads(file.metadata()["state"])
            return shapes, notes
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: truncated, or not a training state ({error})") from None
