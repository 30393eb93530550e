"""One run on several processes, started by torchrun: DDP replicates the model, FSDP2 shards weights and optimizer.

The batch of a step depends on seed and step alone (gpt2.data.token_file). Each process takes its rows, and losses are
sums divided by the count of all processes, so their number changes neither the order of the data nor the loss.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from gpt2._common.errors import invalid
from gpt2.config import Parallel
from gpt2.data.token_file import IGNORE, Batch
from gpt2.model import GPT2

Loss = Callable[..., Tensor]


def is_parallel() -> bool:
    """Return whether this process belongs to a group, even a group of one."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return the rank of this process. Rank 0 writes files and logs."""
    return dist.get_rank() if is_parallel() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if is_parallel() else 1


def barrier() -> None:
    """Wait until all processes are here."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the group that torchrun started, if any, and leave it at the end; yield the device of this process."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def all_reduce_sum(value: float, device: torch.device) -> float:
    """Return the sum of a number over all processes, the same in each."""
    if world_size() == 1:
        return value
    summed = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return float(summed)


def local_rows(batch: Batch) -> tuple[Int[Tensor, "rows time"], Int[Tensor, "rows time"]]:
    """Return this rank's rows of a batch. Short ranks are padded with rows of weight 0, so all have equal sizes."""
    size, ids = world_size(), batch[0]
    if size == 1:
        return batch
    mine = torch.arange(rank(), len(ids), size)
    idle = -(-len(ids) // size) - len(mine)
    ids, targets = (x[mine] for x in batch)
    return F.pad(ids, (0, 0, 0, idle)), F.pad(targets, (0, 0, 0, idle), value=IGNORE)


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the full tensor in each process; a tensor that FSDP has not sharded is returned as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def shard_like(pattern: Any, tensor: Tensor) -> Tensor:
    """Shard a full tensor, equal in all processes, as `pattern` is; each keeps its part without communication."""
    if not hasattr(pattern, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor  # takes seconds to import

    return distribute_tensor(tensor, pattern.device_mesh, pattern.placements, src_data_rank=None)


class _Loss(nn.Module):
    """The loss as a module's forward, where DistributedDataParallel places its hooks."""

    def __init__(self, model: GPT2) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor, reduction: str) -> Tensor:
        return self.model.loss(ids, targets, reduction=reduction)  # type: ignore[arg-type]


class DistributedLoss:
    """A model's loss over all processes: call `loss`; gradients become means over the processes.

    `gradient_sync(last)` states before which backward pass gradients are exchanged. In a single process it is the
    model's own loss.
    """

    def __init__(self, model: GPT2, mode: Parallel, dtype: torch.dtype) -> None:
        self.model: Any = model
        self.ddp: Any = None
        self.sharded = is_parallel() and mode == "fsdp"
        if self.sharded:
            if dtype == torch.float16:
                raise invalid("dtype", "be bfloat16 or float32 with parallel=fsdp", "float16", "Or use parallel=ddp")
            shard(model, dtype)
        self.loss: Loss = model.loss
        if not self.sharded and world_size() > 1:
            from torch.nn.parallel import DistributedDataParallel

            self.ddp = DistributedDataParallel(_Loss(model))
            self.loss = self.ddp

    def gradient_sync(self, last: bool) -> AbstractContextManager[object]:
        """Exchange gradients only in the last micro-batch of a step."""
        if self.sharded:
            self.model.set_requires_gradient_sync(last)  # a method that fully_shard adds
        context: AbstractContextManager[object] = nullcontext() if last or self.ddp is None else self.ddp.no_sync()
        return context


def shard(model: GPT2, dtype: torch.dtype) -> None:
    """Apply FSDP2 in place: a unit for each block and one for the rest; matmuls in `dtype`, gradients in float32."""
    from torch.distributed.device_mesh import init_device_mesh  # these take seconds to import,
    from torch.distributed.fsdp import (
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )  # and few need them

    mesh = init_device_mesh(model.device.type, (world_size(),))
    policy = MixedPrecisionPolicy(None if dtype == torch.float32 else dtype, torch.float32)
    for block in model.h:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    register_fsdp_forward_method(model, "loss")  # training calls it instead of forward


def gathered_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return all full weights by name. All processes must call it."""
    return {name: full_tensor(t) for name, t in model.state_dict().items()}


def reshard(model: Any) -> None:
    """Free the full weights that FSDP keeps after a forward pass, so that its parameters are shards again."""
    if hasattr(model, "reshard"):
        model.reshard()
