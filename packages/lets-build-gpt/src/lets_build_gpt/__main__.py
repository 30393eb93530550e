"""From counting bigrams to a GPT on characters.

Begin with `lets-build-gpt demo`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lets_build_gpt.config import TrainConfig
from lets_build_gpt.recipes import RECIPES

if TYPE_CHECKING:
    from lets_build_gpt.train import Result

Recipe = tyro.extras.subcommand_type_from_defaults(
    {name: config for name, (config, _) in RECIPES.items()},
    {name: description for name, (_, description) in RECIPES.items()},
)


def say(*text: object) -> None:
    """A message: on stderr, so that stdout holds results only."""
    print(*text, file=sys.stderr, flush=True)


@dataclass
class Demo:
    """Train a bigram model and a small GPT on the Python language reference, and show what they learned."""

    out: str = "runs/demo"
    """folder of the run; a number is appended where it is taken"""
    tokens: int = 0
    """train on as many instead of the demo's own number"""

    def __call__(self) -> None:
        """Run the demo."""
        from lets_build_gpt.demo import demo

        demo(self.out, self.tokens, train_with_progress, show=print, warn=say)


@dataclass
class Bigram:
    """Count bigrams, train the same table by gradient descent, compare, and draw a sample from it."""

    text: str = ""
    """a text file; "shakespeare": tiny shakespeare by dlpapers_shared; empty: the Python language reference"""
    max_length: int = 200
    """characters of the sample"""
    seed: int = 1337
    """of the sample"""

    def __call__(self) -> None:
        """Print the losses and the sample."""
        from lets_build_gpt.demo import fit_bigrams

        found = fit_bigrams(self.text, self.max_length, self.seed)
        print(f"training loss, counted: {found.counted:.4f} nats per character")
        print(f"training loss, trained: {found.trained:.4f}")
        print(f"validation loss, counted with 1 added to every count: {found.validation:.4f}")
        print(found.sample)


@dataclass
class Train:
    """Train a GPT by a recipe; every setting of the recipe can be overridden."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]  # type: ignore[valid-type]

    def __call__(self) -> None:
        """Train and print the validation loss."""
        config: TrainConfig = self.recipe
        result = train_with_progress(config)
        if result.interrupted:
            say(f"stopped after {result.steps} steps; add --resume to go on")
            sys.exit(130)
        draw_curve(Path(config.out))
        print(f"validation loss: {result.val_loss:.4f} nats per character")
        print(f"{result.cpu_seconds:.0f} CPU-seconds; everything is in {config.out}")


@dataclass
class Evaluate:
    """Score a trained model on the validation split of a text: whole split, non-overlapping windows."""

    run: tyro.conf.Positional[Path]
    """folder of a run"""
    text: str = ""
    """the text, as for train"""
    device: str = "auto"
    """auto (cuda, mps, cpu) or a torch device"""

    def __call__(self) -> None:
        """Print the loss."""
        import math

        import torch

        from lets_build_gpt import data, evaluate, machine, storage

        model, tokenizer = storage.load_run(self.run)
        _, validation = data.split(data.load_text(self.text))
        ids = torch.tensor(tokenizer.encode(validation))
        loss = evaluate.evaluate(model.to(machine.choose_device(self.device)), ids)
        print(f"validation loss: {loss:.4f} nats per character, {loss / math.log(2):.4f} bits")


@dataclass
class Generate:
    """Continue a prompt with a trained model."""

    run: tyro.conf.Positional[Path]
    """folder of a run"""
    prompt: str = ""
    """text to continue; empty: a line break"""
    max_length: int = 500
    """characters in all, the prompt among them"""
    temperature: float = 0.8
    """below 1 sharper, above 1 flatter; 0: always the likeliest"""
    top_k: int | None = None
    """draw among this many likeliest only"""
    seed: int = 1337
    """of the draws"""
    device: str = "cpu"
    """a torch device, or auto; one text at a time is quick on a CPU"""

    def __call__(self) -> None:
        """Print the text."""
        import torch

        from lets_build_gpt import machine, storage

        model, tokenizer = storage.load_run(self.run)
        device = machine.choose_device(self.device)
        ids = torch.tensor([tokenizer.encode(self.prompt or tokenizer.start())], device=device)
        generator = torch.Generator(device).manual_seed(self.seed)
        out = model.to(device).generate(
            ids, self.max_length, temperature=self.temperature, top_k=self.top_k, generator=generator
        )
        print(tokenizer.decode(out[0].tolist()))


@dataclass
class Plot:
    """Draw the losses of one run, or of several in one figure."""

    runs: tyro.conf.Positional[list[Path]]
    """folders of runs"""
    out: Path = Path("curve.png")
    """the picture, .png, .svg or .pdf"""

    def __call__(self) -> None:
        """Write the picture."""
        from lets_build_gpt import pictures

        if not self.runs:
            raise ValueError("runs: none given; name at least one folder of a run")
        pictures.loss_curves(self.runs, self.out)
        print(self.out)


def train_with_progress(config: TrainConfig) -> Result:
    """Train with a progress bar (on a terminal) and a line for each evaluation on stderr."""
    from tqdm import tqdm

    from lets_build_gpt.train import train

    with tqdm(total=config.steps, unit="step", disable=None, dynamic_ncols=True) as bar:

        def on_step(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        def on_evaluation(metrics: dict[str, float | int], sample: str) -> None:
            with tqdm.external_write_mode(sys.stderr):
                say(f"step {metrics['step']:,}: validation loss {metrics['val_loss']:.4f}")
                say("    " + sample.strip().replace("\n", "\n    ") + "\n")

        return train(config, on_step, on_evaluation)


def draw_curve(folder: Path) -> None:
    """curve.png of a run, or how to get it."""
    from lets_build_gpt import pictures

    try:
        pictures.loss_curves([folder], folder / "curve.png")
    except ModuleNotFoundError as error:
        say(error)


def main() -> None:
    """Parse the command line and run it; bad input is one line on stderr and exit status 2."""
    commands: dict[str, Callable[..., Any]] = {
        "demo": Demo,
        "bigram": Bigram,
        "train": Train,
        "evaluate": Evaluate,
        "generate": Generate,
        "plot": Plot,
    }
    command = tyro.extras.subcommand_cli_from_dict(
        commands, prog="lets-build-gpt", description=__doc__, config=(tyro.conf.OmitArgPrefixes,)
    )
    try:
        command()
    except (ValueError, OSError, ModuleNotFoundError) as error:
        say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
