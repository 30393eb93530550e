"""The commands of `lets-build-gpt`; commands/ has those that use a trained run. PyTorch is imported inside them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from lets_build_gpt._common.cli import Presets, command_line, run, say
from lets_build_gpt._common.errors import MissingDependencyError, check_integer
from lets_build_gpt._common.interrupt import TrainingInterrupted
from lets_build_gpt._common.progress import Progress
from lets_build_gpt._common.run_folder import LOSS_CURVE
from lets_build_gpt.commands.usage import Evaluate, Export, Generate, Plot, read_text_option
from lets_build_gpt.config import ModelConfig, OptimConfig, TrainConfig
from lets_build_gpt.recipes import DEFAULT_RECIPE, DEMO, RECIPES

if TYPE_CHECKING:
    from lets_build_gpt.run import Result
    from lets_build_gpt.train import Evaluation

PROG = "lets-build-gpt"


@dataclass(frozen=True)
class ModelOptions(ModelConfig):
    """The shape of the model. The text determines the vocabulary size."""

    vocab_size: tyro.conf.Suppress[int] = 65
    """Number of distinct tokens; training takes it from the text."""


@dataclass
class Demo:
    """Train a bigram model and a small GPT on the Python language reference and show the text that they write.

    Takes 2–3 min on 2 CPU cores. A finished demo is shown again without training.

    Example: lets-build-gpt demo
    """

    out: Path = Path(f"runs/{PROG}-demo")
    """Run folder."""
    resume: bool = False
    """Continue an interrupted demo."""
    overwrite: bool = False
    """Train again and replace the run in `out`."""
    steps: int = DEMO.train.steps
    """Optimizer steps."""
    seed: int = DEMO.train.seed
    """Seed of the initial weights, the batches and dropout."""
    device: str = "auto"
    """Device: cpu, cuda, mps, or auto (the first that is available of cuda, mps, cpu)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Autocast dtype of training; `auto`: bfloat16 where it is faster, else float32."""

    def __call__(self) -> None:
        """Run the demo."""
        train = replace(DEMO.train, steps=self.steps, seed=self.seed, device=self.device, dtype=self.dtype)
        if self.steps != DEMO.train.steps:
            train = replace(train, eval_every=max(1, self.steps // 4))
        from lets_build_gpt import demo
        from lets_build_gpt._common.device import pick_device
        from lets_build_gpt._common.run_folder import claim_run_folder
        from lets_build_gpt.run import finished_result

        pick_device(self.device)
        result = None if self.overwrite else finished_result(self.out, DEMO.model)
        if result is None:
            claim_run_folder(self.out, resume=self.resume, overwrite=self.overwrite)
        else:
            say(f"{self.out}: shows the finished demo; --overwrite trains it again")
        bigram_loss = demo.before_training(print)
        if result is None:
            command = Train(ModelOptions(**asdict(DEMO.model)), DEMO.optim, train, out=self.out)
            command.resume, command.overwrite = self.resume, self.overwrite
            result = command.run(show_samples=False)
        demo.after_training(result, bigram_loss, print)
        print(f"The run is in {self.out}:")
        demo.draw(self.out, print, say)
        print("Next:")
        print(f'  {PROG} generate {self.out} --prompt "The " --max-new-tokens 500')
        print(f"  {PROG} train --text YOUR_FILE.txt")


@dataclass
class Bigram:
    """Count the bigrams of a text, train the same table by gradient descent, and sample from it.

    Example: lets-build-gpt bigram --text book.txt
    """

    text: str | None = None
    """UTF-8 text file, `-` for stdin, or `shakespeare` (downloaded once); by default the Python language reference."""
    max_length: int = 200
    """Characters of the sample."""
    seed: int = 1337
    """Seed of the sample."""

    def __call__(self) -> None:
        """Print the losses and the sample."""
        check_integer("max_length", self.max_length, 1)
        check_integer("seed", self.seed, 0, 2**62)
        from lets_build_gpt.bigram import MAX_TRAINED_VOCAB, fit_bigrams

        found = fit_bigrams(read_text_option(self.text), self.max_length, self.seed)
        print(f"training loss, counted: {found.counted:.4f} nats per character")
        if found.trained is None:
            say(f"Gradient descent is skipped: the text has more than {MAX_TRAINED_VOCAB:,} distinct characters")
        else:
            print(f"training loss, gradient descent: {found.trained:.4f}")
        print(f"validation loss, counts plus 1: {found.validation:.4f}")
        print(found.sample)


@dataclass
class Train:
    """Train a GPT on a text.

    Each option has the recipe's value as its default. Ctrl-C writes a checkpoint; the same command with --resume
    continues the run.

    Example: lets-build-gpt train cpu-3min --text book.txt --out runs/book
    """

    model: ModelOptions
    optim: OptimConfig
    train: TrainConfig
    text: str | None = None
    """UTF-8 text file, `-` for stdin, or `shakespeare` (downloaded once); by default the Python language reference."""
    out: Path = Path("runs") / PROG
    """Run folder."""
    resume: bool = False
    """Continue the run in `out` from its last checkpoint: the result is that of an uninterrupted run."""
    overwrite: bool = False
    """Replace the run in `out`."""
    extend: int | None = None
    """With --resume: continue a finished run for N more steps."""

    def __call__(self) -> None:
        """Train and print the validation loss."""
        result = self.run()
        step = "" if result.best_step == result.step else f" (step {result.best_step}; last {result.val_loss:.4f})"
        print(f"validation loss: {result.best_val_loss:.4f} nats per character{step}")
        print(f"{result.cpu_seconds:.0f} CPU-seconds; the run is in {self.out}")

    def run(self, *, show_samples: bool = True) -> Result:
        """Train with progress on stderr. Raises: TrainingInterrupted after Ctrl-C or SIGTERM, with a checkpoint."""
        from lets_build_gpt._common.malloc import keep_freed_memory
        from lets_build_gpt.data import SHAKESPEARE
        from lets_build_gpt.plots import plot_loss
        from lets_build_gpt.run import train

        keep_freed_memory()
        text = read_text_option(self.text)
        name = self.text if self.text in (None, "-", SHAKESPEARE) else str(Path(self.text).absolute())
        with ExitStack() as stack:
            bars: list[Progress] = []

            def on_start(step: int, steps: int) -> None:
                bars.append(stack.enter_context(Progress(steps, initial=step)))

            def on_evaluation(found: Evaluation) -> None:
                best = "" if found.best_step == found.step else f" (lowest: {found.best_val_loss:.4f})"
                bars[0].message(f"step {found.step:,}: validation loss {found.val_loss:.4f}{best}")
                if show_samples and found.sample.strip():
                    bars[0].message("    " + found.sample.strip().replace("\n", "\n    ") + "\n")

            result = train(
                ModelConfig(**asdict(self.model)),
                self.optim,
                self.train,
                text,
                self.out,
                text_name=name,
                resume=self.resume,
                overwrite=self.overwrite,
                extend=self.extend,
                say=say,
                on_start=on_start,
                on_step=lambda step, loss: bars[0].update(step, loss=f"{loss:.3f}"),
                on_evaluation=on_evaluation,
            )
        if not result.finished:
            more = command_line(PROG, "--resume")
            raise TrainingInterrupted(f"interrupted at step {result.step}; continue with: {more}")
        if warning := result.overfitting():
            say(warning)
        try:
            plot_loss([self.out], self.out / LOSS_CURVE)
        except MissingDependencyError as error:
            say(f"{LOSS_CURVE}: {error}")
        return result


def _preset(name: str) -> Train:
    recipe = RECIPES[name]
    return Train(ModelOptions(**asdict(recipe.model)), recipe.optim, recipe.train, out=Path(f"runs/{PROG}-{name}"))


TRAIN = Presets(
    f"Train a GPT on a text. Every setting of a recipe is an option; the default recipe is {DEFAULT_RECIPE}.",
    {name: (recipe.description, _preset(name)) for name, recipe in RECIPES.items()},
    lambda arguments: DEFAULT_RECIPE,
)

COMMANDS: dict[str, type | Presets] = {
    "demo": Demo,
    "bigram": Bigram,
    "train": TRAIN,
    "evaluate": Evaluate,
    "generate": Generate,
    "plot": Plot,
    "export": Export,
}


def main() -> None:
    """Parse the command line and run the command."""
    run(COMMANDS, prog=PROG, description="From a bigram table to a character-level GPT. Start with the demo.")
