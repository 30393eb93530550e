"""The demo: train for a few seconds and generate text."""
# Replace: what a newcomer sees first.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from MODULE.checkpoint import load_run
from MODULE.config import SamplingConfig
from MODULE.recipes import RECIPES
from MODULE.train import Trainer, run_training


def train_demo(out: Path, overwrite: bool, say: Callable[[str], None]) -> Trainer:
    """Train the demo recipe in `out`; resume an interrupted demo, reuse a finished one."""
    again = "--overwrite to train it again"
    return run_training(RECIPES["demo"], out, resume=not overwrite, overwrite=overwrite, again=again, say=say)


def sample_lines(out: Path) -> str:
    """Return text that the trained demo writes."""
    model, tokenizer, _ = load_run(out)
    ids = model.generate([], SamplingConfig(max_new_tokens=240), torch.Generator().manual_seed(0))
    return tokenizer.decode(ids).rpartition("\n")[0]
