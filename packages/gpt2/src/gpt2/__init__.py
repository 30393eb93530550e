"""Language Models are Unsupervised Multitask Learners (Radford et al. 2019): GPT-2 in PyTorch.

`GPT2` and `GPT2Config` are the model, `sampling` the ways to draw a token. They are imported on first use:
torch takes seconds, and `gpt2 --help` should not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gpt2.paper import PAPER, Paper

if TYPE_CHECKING:
    from gpt2 import sampling
    from gpt2.model import GPT2, GPT2Config

__all__ = ["PAPER", "Paper", "GPT2", "GPT2Config", "sampling"]


def __getattr__(name: str) -> object:
    if name in ("GPT2", "GPT2Config"):
        return getattr(importlib.import_module("gpt2.model"), name)
    if name == "sampling":
        return importlib.import_module("gpt2.sampling")
    raise AttributeError(f"module 'gpt2' has no attribute {name!r}")
