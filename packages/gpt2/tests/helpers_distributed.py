"""Runs in several processes, for test_distributed.py: helpers_distributed.py RUN [RUN ...], one after the other.

A RUN is JSON: processes, folder, mode, and optionally copy_of, optimizer, micro_batch, stop_after, resume. Its
processes are forked from this one with the variables that torchrun sets, so torch is imported once. 0 processes: in
this one, without a group.
"""

import dataclasses
import json
import os
import shutil
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
import torch.distributed.checkpoint
import torch.distributed.fsdp
from gpt2.config import OptimConfig, TrainConfig
from gpt2.training import distributed
from gpt2.training.trainer import Trainer
from helpers_models import Data, small_model

CONFIG = TrainConfig(
    steps=6, batch_size=7, optim=OptimConfig(lr=3e-3, warmup_steps=3), dtype="float32", eval_every=3, log_every=1
)


def train(folder, mode="ddp", optimizer="adamw", micro_batch=0, stop_after=None, resume=False):
    optim = dataclasses.replace(CONFIG.optim, optimizer=optimizer)
    config = dataclasses.replace(CONFIG, optim=optim, parallel=mode, micro_batch=micro_batch)
    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu")):
        model = small_model(torch.float32, seed=2)
        Trainer(model, Data(uneven=True), config, folder).fit(resume=resume, stop_after=stop_after)
        held = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in model.parameters())
        (Path(folder) / f"process-{distributed.rank()}.json").write_text(json.dumps({"weights": held}))


def several(processes, copy_of=None, **options):
    if copy_of:
        shutil.copytree(copy_of, options["folder"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        if pid := os.fork():
            children.append(pid)
            continue
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ.update({"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank), **address})
        status = 1
        try:
            train(**options)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    if any(os.waitpid(pid, 0)[1] for pid in children):
        sys.exit(f"{options}: a process failed")


if __name__ == "__main__":
    for given in map(json.loads, sys.argv[1:]):
        count = given.pop("processes")
        several(count, **given) if count else train(**given)
