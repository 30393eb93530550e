"""One run on several processes, started by torchrun: DDP, where each holds the whole model, and FSDP2, where each
holds a part of every weight and of the optimizer's state and fetches a block when it is its turn.

The batch of a step is a function of seed and step (gpt2.data). Each process takes its share of the rows, losses are
sums over the count of all, so the number of processes changes neither the order of the data nor the loss.
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

from gpt2.data import IGNORE, Batch
from gpt2.model import GPT2
from gpt2.settings import Parallel
from gpt2.sharding import whole

Loss = Callable[..., Tensor]


def is_parallel() -> bool:
    """Whether this process belongs to a group (of one, perhaps)."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """The number of this process; 0 is the one that writes and speaks."""
    return dist.get_rank() if is_parallel() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if is_parallel() else 1


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the group that torchrun started, if it did, and leave it at the end; gives the device of this process."""
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


def total(value: float, device: torch.device) -> float:
    """The sum of a number over all processes; all get the same answer."""
    if world_size() == 1:
        return value
    summed = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return float(summed)


def share(batch: Batch) -> tuple[Int[Tensor, "rows tokens"], Int[Tensor, "rows tokens"]]:
    """This process's rows of a batch. All get as many: who would get fewer gets a row that counts nothing."""
    size, ids = world_size(), batch[0]
    if size == 1:
        return batch
    mine = torch.arange(rank(), len(ids), size)
    idle = -(-len(ids) // size) - len(mine)
    ids, targets = (x[mine] for x in batch)
    return F.pad(ids, (0, 0, 0, idle)), F.pad(targets, (0, 0, 0, idle), value=IGNORE)


class _Loss(nn.Module):
    """The loss as a module's forward, where DistributedDataParallel puts its hooks."""

    def __init__(self, model: GPT2) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor, reduction: str) -> Tensor:
        return self.model.loss(ids, targets, reduction=reduction)  # type: ignore[arg-type]


class Spread:
    """A model's loss on all processes: `loss` to call, `last` to say before which backward pass gradients are summed.

    Alone it is the model's own loss. The gradients that come out are means over the processes.
    """

    def __init__(self, model: GPT2, mode: Parallel, dtype: torch.dtype) -> None:
        self.model: Any = model
        self.ddp: Any = None
        self.sharded = is_parallel() and mode == "fsdp"
        if self.sharded:
            if dtype == torch.float16:
                raise ValueError("parallel: fsdp goes with bfloat16 or float32; float16's scaler goes with ddp")
            shard(model, dtype)
        self.loss: Loss = model.loss
        if not self.sharded and world_size() > 1:
            from torch.nn.parallel import DistributedDataParallel

            self.ddp = DistributedDataParallel(_Loss(model))
            self.loss = self.ddp

    def last(self, last: bool) -> AbstractContextManager[object]:
        """Only the last micro-batch of a step sends gradients around."""
        if self.sharded:
            self.model.set_requires_gradient_sync(last)  # fully_shard gave it this method
        found: AbstractContextManager[object] = nullcontext() if last or self.ddp is None else self.ddp.no_sync()
        return found


def shard(model: GPT2, dtype: torch.dtype) -> None:
    """FSDP2 in place: a unit for each block and one for the rest; products in `dtype`, sums of gradients in float32."""
    from torch.distributed.device_mesh import init_device_mesh  # importing these takes seconds, and one process alone
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method  # needs none

    mesh = init_device_mesh(model.wte.weight.device.type, (world_size(),))
    policy = MixedPrecisionPolicy(None if dtype == torch.float32 else dtype, torch.float32)
    for block in model.h:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    register_fsdp_forward_method(model, "loss")  # training calls it instead of forward


def gathered(model: nn.Module) -> dict[str, Tensor]:
    """All weights, whole, by name; every process has to ask."""
    return {name: whole(t) for name, t in model.state_dict().items()}


def settle(model: Any) -> None:
    """Let go of the whole weights that FSDP keeps after a forward pass, so that its parameters are the parts."""
    if hasattr(model, "reshard"):
        model.reshard()
