"""Several processes, started by torchrun: one for each GPU, on one machine or many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_world() -> tuple[int, int]:
    """Return the rank of this process and the number of processes: 0 and 1 without torchrun."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def barrier() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum over all processes; equal on each of them, bit for bit."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def gather_bytes(state: Tensor) -> Tensor:
    """Return a byte tensor of every process, stacked: (processes, bytes)."""
    if not dist.is_initialized():
        return state[None]
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    own = state.to(device)
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, own)
    return torch.stack(gathered).cpu()


@contextmanager
def process_group() -> Iterator[int]:
    """Join the processes that torchrun started; yield the rank of this one, 0 without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()
