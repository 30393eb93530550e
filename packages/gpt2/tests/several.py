"""What one process of test_parallel.py does: train a small model, say what happened. Run by torchrun, or alone.

several.py FOLDER MODE [--resume] [--stop-after N] [--micro-batch N] [--optimizer NAME]
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from gpt2 import parallel
from gpt2.settings import OptimConfig, TrainConfig
from gpt2.train import Trainer
from small import Data, small_model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("mode")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--stop-after", type=int)
    parser.add_argument("--micro-batch", type=int, default=0)
    parser.add_argument("--optimizer", default="adamw")
    given = parser.parse_args()
    optim = OptimConfig(optimizer=given.optimizer, lr=3e-3, warmup=3)
    config = TrainConfig(
        steps=6, batch_size=7, optim=optim, dtype="float32", eval_every=3, log_every=1,
        parallel=given.mode, micro_batch=given.micro_batch,
    )  # fmt: skip
    torch.set_num_threads(1)
    with parallel.joined(torch.device("cpu")):
        model = small_model(torch.float32, seed=2)
        trainer = Trainer(model, Data(uneven=True), config, given.folder)
        trainer.run(resume=given.resume, stop_after=given.stop_after)
        held = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in model.parameters())
        (given.folder / f"process-{parallel.rank()}.json").write_text(json.dumps({"weights": held}))


if __name__ == "__main__":
    main()
