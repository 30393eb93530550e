"""The training state: weights, optimizer, step. In safetensors, never a pickle.

One process writes one file. Several write a folder by torch.distributed.checkpoint, each its own part; it is read again
by any number of processes. Random numbers need no place here: every step seeds them anew (gpt2.train).
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
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from gpt2 import parallel
from gpt2.pretrained import write_atomically, write_json
from gpt2.settings import TrainConfig
from gpt2.sharding import split_like

FILE = "training.safetensors"
NOTES = "notes.json"
Scaler = torch.amp.GradScaler


def _states(model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Every parameter, and every tensor of the optimizers under its parameter's name."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    state = {f"model.{name}": p.detach() for p, name in names.items()}
    for optimizer in optimizers:
        for parameter, found in optimizer.state.items():
            state |= {f"optimizer.{names[parameter]}.{k}": t for k, t in found.items() if isinstance(t, Tensor)}
    return state


@torch.no_grad()
def _initialise(optimizers: Sequence[Optimizer]) -> None:
    """Have the optimizers make their states, by a step that moves nothing."""
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


def trajectory(config: TrainConfig) -> str:
    """What must be equal for a resumed run to be the same run."""
    return repr((config.steps, config.batch_size, config.optim, config.seed))


def _parts(folder: Path) -> list[Path]:
    """The folders of complete checkpoints of several processes, the last one last."""
    return sorted(path for path in folder.glob("training-*") if (path / NOTES).exists())


def save_training(
    folder: Path,
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    config: TrainConfig,
    progress: dict[str, Any],
    scaler: Scaler | None = None,
) -> None:
    """Write the state; what was there stays until the new one is whole."""
    notes = {"progress": progress, "trajectory": trajectory(config), "scaler": scaler.state_dict() if scaler else {}}
    state = _states(model, optimizers)
    if not parallel.is_parallel():
        state = {name: t.cpu().contiguous() for name, t in state.items()}
        write_atomically(folder / FILE, lambda path: save_file(state, path, {"notes": json.dumps(notes)}))
        for old in _parts(folder):
            shutil.rmtree(old)
        return
    path = folder / f"training-{progress['step']:09d}"
    temporary = path.with_name(f".{path.name}.part")
    if parallel.rank() == 0:
        shutil.rmtree(temporary, ignore_errors=True)
    dist.barrier()
    dcp = _dcp()
    dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(str(temporary), save_distributed=True))
    if parallel.rank() == 0:
        earlier = [p for p in _parts(folder) if p != path]
        write_json(temporary / NOTES, notes)
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        for found in earlier:
            shutil.rmtree(found)
        (folder / FILE).unlink(missing_ok=True)
    dist.barrier()


@torch.no_grad()
def load_training(
    folder: Path,
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    config: TrainConfig,
    scaler: Scaler | None = None,
) -> dict[str, Any]:
    """Put the state back; returns the progress. ValueError for a state of another model or another run.

    Who wrote it does not matter: one process, or several, of whatever number.
    """
    path = next(iter(reversed(_parts(folder))), folder / FILE)  # a file beside a folder is older: see save_training
    if not path.exists():
        raise ValueError(f"{folder}: holds no {FILE} to resume from")
    try:
        stored = _stored(path)
    except (SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{path}: truncated, or not safetensors ({error})") from None
    shapes, notes = stored
    if notes["trajectory"] != trajectory(config):
        raise ValueError(f"{path}: belongs to a run with other settings: {notes['trajectory']}")
    _initialise(optimizers)
    state = _states(model, optimizers)
    for name, tensor in state.items():
        if shapes.get(name) != list(tensor.shape):
            raise ValueError(f"{path}: {name} does not fit: the checkpoint is of another model")
    if path.is_dir():
        _dcp().load(state, storage_reader=_dcp().HuggingFaceStorageReader(str(path)))
    else:
        with safe_open(path, framework="pt") as file:
            for name, tensor in state.items():
                tensor.copy_(split_like(tensor, file.get_tensor(name).to(tensor.device)))
    if scaler is not None and notes["scaler"]:
        scaler.load_state_dict(notes["scaler"])
    progress: dict[str, Any] = notes["progress"]
    return progress


def _dcp() -> Any:
    """torch.distributed.checkpoint, which takes a while to import."""
    from torch.distributed import checkpoint

    return checkpoint


def _stored(path: Path) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """The shapes of all tensors of a checkpoint, and its notes."""
    if path.is_dir():
        metadata = _dcp().HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
        shapes = {name: list(entry.size) for name, entry in metadata.items() if hasattr(entry, "size")}
        return shapes, json.loads((path / NOTES).read_text(encoding="utf-8"))
    with safe_open(path, framework="pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return shapes, json.loads(file.metadata()["notes"])
