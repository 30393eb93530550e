"""Checkpoint averaging (section 6.1). Only average checkpoints from late in training, close to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from transformer_torch._common.atomic import read_json_object, write_json
from transformer_torch._common.run_folder import CONFIG, TOKENIZER, WEIGHTS, claim_run_folder, clear_run_folder
from transformer_torch._common.tensors import read_tensors, write_tensors


class RunningMean:
    """The mean of snapshots of the weights: a sum in float64 on the CPU, so that it takes the memory of one copy."""

    def __init__(self, count: int = 0, total: dict[str, Tensor] | None = None) -> None:
        self.count, self.total = count, total or {}

    def add(self, weights: Mapping[str, Tensor]) -> None:
        """Add a snapshot. Raises: ValueError if it is of another model."""
        if self.count and any(
            name not in weights or weights[name].shape != total.shape for name, total in self.total.items()
        ):
            raise ValueError(f"`weights` must be of one model, but number {self.count + 1} differs from number 1")
        for name, tensor in weights.items():
            wide = tensor.detach().to("cpu", torch.float64)
            self.total[name] = wide.clone() if self.count == 0 else self.total[name].add_(wide)
        self.count += 1

    def mean(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return the mean."""
        return {name: (total / self.count).to(dtype) for name, total in self.total.items()}


def average_runs(runs: Sequence[Path], out: Path, overwrite: bool = False) -> Path:
    """Write a run folder with the mean of the weights of several runs of one model; return it.

    Raises: ValueError if the runs have different sizes or tokenizers.
    """
    if not runs:
        raise ValueError("`runs` must name at least one run folder, got none")
    claim_run_folder(out, resume=False, overwrite=overwrite)
    if out.resolve() in {run.resolve() for run in runs}:
        raise ValueError(f"`out` must not be one of the runs, got {str(out)!r}")
    first = read_json_object(runs[0] / CONFIG)
    tokenizer = read_json_object(runs[0] / TOKENIZER)
    mean = RunningMean()
    for run in runs:
        config = read_json_object(run / CONFIG)
        for name, old, new in (
            ("model", first.get("model"), config.get("model")),
            ("tokenizer", tokenizer, read_json_object(run / TOKENIZER)),
        ):
            if old != new:
                raise ValueError(f"{run}: its {name} differs from that of {runs[0]}, so a mean has no meaning")
        weights, _ = read_tensors(run / WEIGHTS)
        mean.add(weights)
    clear_run_folder(out)
    write_json(out / TOKENIZER, tokenizer)
    write_json(out / CONFIG, first | {"average_of": [str(run) for run in runs]})
    write_tensors(out / WEIGHTS, mean.mean())
    return out
