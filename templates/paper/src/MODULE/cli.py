"""All commands. Heavy imports are inside the commands, so that `--help` is fast."""
# Replace: options that your paper needs; keep the verbs and the names of the vocabulary.

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from MODULE._common.cli import Presets, command_line, run, say
from MODULE._common.interrupt import TrainingInterrupted
from MODULE.config import DataConfig, ModelConfig, SamplingConfig, TrainConfig
from MODULE.paper import PAPER
from MODULE.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from MODULE.train import Trainer

PROG = "{{NAME}}"


def _end(trainer: Trainer, out: Path, *more: str) -> None:
    if not trainer.finished:
        step = f"{trainer.steps_done:,}"
        raise TrainingInterrupted(f"interrupted at step {step}; continue with: {command_line(PROG, *more)}")
    say(f"validation loss {trainer.evaluate():.3f} nats per character; next: {PROG} generate {out}")


@dataclass
class Demo:
    """Train a small model and print text that it generates (5 s).

    Example: {{NAME}} demo
    """

    out: Path = Path(f"runs/{PROG}-demo")
    """Folder of the run. A finished demo in it is reused."""
    overwrite: bool = False
    """Train again, even if the folder holds a run."""

    def __call__(self) -> None:
        """Run the command."""
        import torch

        from MODULE.demo import sample_lines, train_demo

        torch.set_num_threads(1)  # the matrices are too small for a second thread to help
        _end(train_demo(self.out, self.overwrite, say), self.out)
        print(sample_lines(self.out))


@dataclass
class Train:
    """Train a recipe on a text.

    Example: {{NAME}} train base --steps 3000 --out runs/longer
    """

    out: Path
    """Folder of the run."""
    text: Path | None = None
    """UTF-8 text file, - is stdin; without it, the embedded synthetic text."""
    resume: bool = False
    """Continue the run in the folder; repeat its command and add this option."""
    overwrite: bool = False
    """Replace the run in the folder."""
    extend: int | None = None
    """Further steps for a finished run, with --resume."""
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def __call__(self) -> None:
        """Run the command."""
        from MODULE.train import run_training

        trainer = run_training(
            Recipe("", "", self.model, self.train, self.data),
            self.out,
            text=self.text,
            resume=self.resume,
            overwrite=self.overwrite,
            extend=self.extend,
            say=say,
        )
        _end(trainer, self.out, "--resume")


@dataclass
class Evaluate:
    """Print the loss of a run on a text.

    Example: {{NAME}} evaluate runs/{{NAME}}-demo
    """

    run: Positional[Path]
    """Folder of the run."""
    text: Path | None = None
    """UTF-8 text file, - is stdin; without it, the validation lines of the embedded text."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""

    def __call__(self) -> None:
        """Run the command."""
        from MODULE._common.device import pick_device
        from MODULE.checkpoint import load_run
        from MODULE.data import load_text, make_examples, split_lines
        from MODULE.train import mean_loss

        model, tokenizer, settings = load_run(self.run, pick_device(self.device))
        text = load_text(self.text)
        if self.text is None:
            text = split_lines(text, settings["data"]["held_out"])[1]
        loss = mean_loss(model, make_examples(tokenizer.encode(text), model.config.context_length))
        print(f"loss {loss:.4f} nats per character, {len(text):,} characters")


@dataclass
class Generate:
    """Print text that a run generates.

    Example: {{NAME}} generate runs/{{NAME}}-demo --prompt "the old "
    """

    run: Positional[Path]
    """Folder of the run."""
    prompt: str | None = None
    """Text to continue, - reads it from stdin; without it, a line starts."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    seed: int = 0
    """Seed of the sampling."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""

    def __call__(self) -> None:
        """Run the command."""
        import torch

        from MODULE._common.device import pick_device
        from MODULE._common.errors import check_integer
        from MODULE.checkpoint import load_run

        check_integer("seed", self.seed, 0, 2**32 - 1)
        model, tokenizer, _ = load_run(self.run, pick_device(self.device))
        prompt = sys.stdin.read() if self.prompt == "-" else self.prompt or ""
        new = model.generate(tokenizer.encode(prompt), self.sampling, torch.Generator().manual_seed(self.seed))
        print(prompt + tokenizer.decode(new))


@dataclass
class Plot:
    """Draw the losses of runs.

    Example: {{NAME}} plot runs/{{NAME}}-demo --out loss.png
    """

    runs: Annotated[Positional[list[Path]], arg(help_behavior_hint="(one or more)")]
    """Folders of the runs."""
    out: Path = Path("loss_curve.png")
    """The figure: a .png, .svg or .pdf file."""

    def __call__(self) -> None:
        """Run the command."""
        from MODULE.plots import plot_loss

        plot_loss(self.runs, self.out)
        print(self.out)


@dataclass
class Cite:
    """Print the paper that this package implements.

    Example: {{NAME}} cite
    """

    def __call__(self) -> None:
        """Run the command."""
        print(PAPER.citation())


def _default_recipe(arguments: Sequence[str]) -> str:
    return "base"


COMMANDS: dict[str, type | Presets] = {
    "demo": Demo,
    "train": Presets(
        "Train a recipe on a text.",
        {
            name: (r.description, Train(Path(f"runs/{PROG}-{name}"), model=r.model, train=r.train, data=r.data))
            for name, r in RECIPES.items()
        },
        _default_recipe,
    ),
    "evaluate": Evaluate,
    "generate": Generate,
    "plot": Plot,
    "cite": Cite,
}


def main() -> None:
    """Parse the command line and run the command."""
    run(COMMANDS, prog=PROG, description=f"{PAPER.title} ({PAPER.year}), from scratch.")
