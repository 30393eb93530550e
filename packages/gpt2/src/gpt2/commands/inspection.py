"""Commands about models and runs: plot, inspect, export, cite."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass
class Plot:
    """Draw the training and validation loss of one or more runs.

    Needs matplotlib (the extra `plots`).

    Example: gpt2 plot runs/gpt2-demo
    """

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders."""
    out: Path | None = None
    """Image file; loss_curve.png in the first run by default."""

    def __call__(self) -> None:
        """Draw the figure and print its path."""
        from gpt2.plots import plot_loss

        if not self.runs:
            raise ValueError("`runs` must name at least one run folder, got none")
        print(plot_loss(self.runs, self.out))


@dataclass
class Inspect:
    """Print config, number of parameters, and memory of a model.

    Example: gpt2 inspect runs/gpt2-demo
    """

    model: tyro.conf.Positional[Path]
    """Run folder, Hugging Face folder, or .pt file."""
    n_heads: int | None = None
    """Number of heads, for a minGPT file, which does not store it."""

    def __call__(self) -> None:
        """Print one fact per line."""
        from gpt2.pretrained.weights import load

        model = load(self.model, n_heads=self.n_heads)
        for name, value in asdict(model.config).items():
            print(f"{name}: {'none' if value is None else value}")
        count, c = model.num_parameters(), model.config
        print(f"parameters: {count:,}")
        print(f"memory of float32 weights: {4 * count / 2**20:,.1f} MiB")
        print(f"memory to train with AdamW, without activations: {16 * count / 2**20:,.1f} MiB")
        print(f"key-value cache of one full context: {8 * c.n_layers * c.d_model * c.context_length / 2**20:,.1f} MiB")


@dataclass
class Export:
    """Write a model as a Hugging Face folder.

    Example: gpt2 export runs/gpt2-demo --out hf/demo
    """

    model: tyro.conf.Positional[Path]
    """Run folder, Hugging Face folder, or .pt file of nanoGPT or minGPT."""
    out: Path
    """Folder of the export."""
    format: Literal["hf"] = "hf"
    """Format of the export."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Dtype of the written weights."""
    n_heads: int | None = None
    """Number of heads, for a minGPT file, which does not store it."""
    tokenizer: str | None = None
    """Tokenizer for the export, if the model's folder has none."""

    def __call__(self) -> None:
        """Write the folder and print its path."""
        from gpt2.pretrained.export import export

        print(export(self.model, self.out, dtype=self.dtype, n_heads=self.n_heads, tokenizer=self.tokenizer))


@dataclass
class Cite:
    """Print the paper that this package implements.

    Example: gpt2 cite
    """

    def __call__(self) -> None:
        """Print one line."""
        from gpt2.paper import PAPER

        print(PAPER.citation())
