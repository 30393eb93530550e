"""Checkpoints of a run: all that resuming needs, in safetensors files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from transformer_torch._common.errors import DivergenceError
from transformer_torch._common.metrics import MetricsWriter
from transformer_torch._common.run_folder import METRICS, TRAINING_STATE, WEIGHTS
from transformer_torch._common.tensors import load_weights, read_tensors, write_tensors
from transformer_torch.training.averaging import RunningMean
from transformer_torch.training.distributed import gather_bytes

if TYPE_CHECKING:
    from transformer_torch.training.trainer import Trainer


@dataclass
class Progress:
    """Where a run is: all that a resumed run must know besides tensors."""

    step: int = 0
    epoch: int = 0
    used: int = 0
    """Batches of this epoch that were used."""
    tokens: int = 0
    """Tokens of source and target so far, without padding."""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    best: float | None = None
    """Lowest validation loss."""
    worse: int = 0
    """Evaluations since then."""


def _parameter_names(trainer: Trainer, optimizer: Optimizer) -> list[str]:
    """The parameters of an optimizer, in the order in which its state_dict numbers them."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def save(trainer: Trainer) -> None:
    """Write a checkpoint of a trainer into its folder, if it has one.

    The training state is written first and holds the weights as well, so that resuming never depends on whether
    model.safetensors is of the same step. Each process contributes the state of its random number generator.
    Raises: DivergenceError if a weight is NaN or infinite; the previous checkpoint is then kept.
    """
    if trainer.out is None:
        return
    random = {"random": gather_bytes(torch.get_rng_state())}
    if trainer.device.type == "cuda":
        random["random_cuda"] = gather_bytes(torch.cuda.get_rng_state())
    weights = trainer.weights()
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        kept = (
            f"The checkpoint of step {trainer.saved_step:,} is kept" if trainer.saved_step else "None was written yet"
        )
        raise DivergenceError(
            f"a weight became NaN or infinite at step {trainer.progress.step:,}. {kept}. "
            "Lower the learning rate (--lr-scale)"
        )
    if trainer.rank:
        return
    state = {f"weights.{name}": tensor for name, tensor in weights.items()} | random
    for optimizer in trainer.optimizers:
        kind, names = type(optimizer).__name__.lower(), _parameter_names(trainer, optimizer)
        for number, slots in optimizer.state_dict()["state"].items():
            state |= {f"{kind}.{key}.{names[number]}": tensor for key, tensor in slots.items()}
    state |= {f"snapshots.{name}": tensor for name, tensor in trainer.snapshots.total.items()}
    state |= {f"best.{name}": tensor for name, tensor in (trainer.best_weights or {}).items()}
    about = {
        "progress": json.dumps(vars(trainer.progress), allow_nan=False),
        "snapshots": str(trainer.snapshots.count),
        "scaler": json.dumps(trainer.scaler.state_dict()),
    }
    write_tensors(trainer.out / TRAINING_STATE, state, about)
    write_model(trainer)
    trainer.saved_step = trainer.progress.step


def write_model(trainer: Trainer) -> None:
    """Write model.safetensors: the weights to use, with the step in its metadata."""
    assert trainer.out is not None
    write_tensors(trainer.out / WEIGHTS, trainer.final_model(), {"step": str(trainer.progress.step)})


def load(trainer: Trainer) -> None:
    """Continue from the last checkpoint in a trainer's folder.

    A run on a CPU may continue on a GPU and back; bit for bit it is the same run on a CPU.
    Raises: ValueError that names the file if it does not fit this trainer.
    """
    if trainer.out is None:
        raise ValueError("`out` must be a run folder to resume from, got None")
    path = trainer.out / TRAINING_STATE
    state, about = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    if not {"weights", "random"} <= parts.keys() or not {"progress", "snapshots", "scaler"} <= about.keys():
        raise ValueError(f"{path}: not a training state of this package")
    _check_processes(trainer, len(parts["random"][""]), path)
    load_weights(trainer.model, parts["weights"], path)
    for optimizer in trainer.optimizers:
        _load_optimizer(trainer, optimizer, parts, path)
    snapshots = {name: tensor.double() for name, tensor in parts.get("snapshots", {}).items()}
    trainer.snapshots = RunningMean(int(about["snapshots"]), snapshots)
    best = parts.get("best")
    trainer.best_weights = None if best is None else {k: v.to(trainer.device) for k, v in best.items()}
    random = parts["random"][""]
    if trainer.rank < len(random):
        torch.set_rng_state(random[trainer.rank])
    random_cuda = parts.get("random_cuda", {}).get("", ())
    if trainer.device.type == "cuda" and trainer.rank < len(random_cuda):
        torch.cuda.set_rng_state(random_cuda[trainer.rank])
    trainer.progress = Progress(**json.loads(about["progress"]))
    trainer.saved_step = trainer.progress.step
    scaler: dict[str, Any] = json.loads(about["scaler"])
    if scaler and trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict(scaler)
    if not trainer.rank:
        MetricsWriter(trainer.out / METRICS).truncate(trainer.progress.step)


def _check_processes(trainer: Trainer, processes: int, path: Path) -> None:
    """Each process has its own dropout masks, so with dropout their number shapes the run."""
    if trainer.world != processes and trainer.model.config.dropout:
        raise ValueError(
            f"`processes` must be {processes} to resume {path.parent}, which has dropout, got {trainer.world}"
        )


def _load_optimizer(trainer: Trainer, optimizer: Optimizer, parts: dict[str, dict[str, Tensor]], path: Path) -> None:
    slots: dict[str, dict[str, Tensor]] = {}
    for key, tensor in parts.get(type(optimizer).__name__.lower(), {}).items():
        slot, _, name = key.partition(".")
        slots.setdefault(name, {})[slot] = tensor
    names = _parameter_names(trainer, optimizer)
    if slots.keys() != set(names):
        raise ValueError(f"{path}: not the state of `optimizer` = {trainer.config.optimizer!r}")
    numbered = {number: slots[name] for number, name in enumerate(names)}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": numbered})
