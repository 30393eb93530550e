"""The commands of `lets-build-gpt`. Modules that need PyTorch are imported inside the commands."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lets_build_gpt._common.cli import Presets, command_line, run, say
from lets_build_gpt._common.errors import MissingDependencyError, check_integer, check_not_negative, invalid
from lets_build_gpt._common.interrupt import TrainingInterrupted
from lets_build_gpt._common.progress import Progress
from lets_build_gpt._common.run_folder import LOSS_CURVE
from lets_build_gpt.config import ModelConfig, OptimConfig, TrainConfig
from lets_build_gpt.recipes import DEFAULT_RECIPE, DEMO, RECIPES

if TYPE_CHECKING:
    from lets_build_gpt.run import Result
    from lets_build_gpt.train import Evaluation

PROG = "lets-build-gpt"
RunArgument = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]


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

        found = fit_bigrams(_read_text(self.text), self.max_length, self.seed)
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
        text = _read_text(self.text)
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


@dataclass
class Evaluate:
    """Score a trained model on a text: mean loss over adjacent windows, in float32.

    Example: lets-build-gpt evaluate runs/book --text other.txt
    """

    run: RunArgument
    """Run folder."""
    text: str | None = None
    """UTF-8 text file, `-` for stdin, or `shakespeare`; by default the text that the run was trained on."""
    split: Literal["validation", "train", "all"] | None = None
    """Part of the text; by default `validation` for the run's own text and `all` for another one."""
    last: bool = False
    """Use the weights of the last checkpoint instead of those with the lowest validation loss."""
    device: str = "auto"
    """Device: cpu, cuda, mps, or auto (the first that is available of cuda, mps, cpu)."""

    def __call__(self) -> None:
        """Print the loss."""
        from lets_build_gpt._common.device import pick_device
        from lets_build_gpt.evaluate import score_run

        text = None if self.text is None else _read_text(self.text)
        score = score_run(self.run, text, self.text, split=self.split, last=self.last, device=pick_device(self.device))
        say(f"{score.text_name}: {score.part}, {score.characters:,} characters")
        print(f"loss: {score.loss:.4f} nats per character, {score.bits:.4f} bits, perplexity {score.perplexity:.4f}")


@dataclass
class Generate:
    """Continue a prompt with a trained model.

    Example: lets-build-gpt generate runs/book --prompt "Once upon a time" --max-new-tokens 300
    """

    run: RunArgument
    """Run folder."""
    prompt: str | None = None
    """Text to continue, or `-` for stdin; by default a line break."""
    max_new_tokens: int | None = None
    """Characters to generate; by default 500."""
    max_length: int | None = None
    """Characters of the result, the prompt included; excludes --max-new-tokens."""
    temperature: float = 0.8
    """Divides the logits: below 1 sharper, above 1 flatter; 0 always takes the most probable character."""
    top_k: int | None = None
    """Sample among the N most probable characters; by default among all."""
    overflow: Literal["context_shift", "crop"] = "context_shift"
    """When the context is full: keep its last half (fast), or compute all of it for every character (`crop`)."""
    seed: int = 1337
    """Seed of the sampling."""
    last: bool = False
    """Use the weights of the last checkpoint instead of those with the lowest validation loss."""
    device: str = "auto"
    """Device: cpu, cuda, mps, or auto (the first that is available of cuda, mps, cpu)."""

    def __call__(self) -> None:
        """Print the text."""
        check_not_negative("temperature", self.temperature)
        check_integer("seed", self.seed, 0, 2**62)
        for name, least in (("max_new_tokens", 0), ("max_length", 1), ("top_k", 1)):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), least)
        if self.max_new_tokens is not None and self.max_length is not None:
            raise ValueError("`max_new_tokens` and `max_length` must not both be given")
        import torch

        from lets_build_gpt._common.device import pick_device
        from lets_build_gpt.checkpoint import load_run

        model, tokenizer = load_run(self.run, last=self.last)
        device = pick_device(self.device)
        prompt = sys.stdin.read() if self.prompt == "-" else self.prompt
        try:
            ids = torch.tensor([tokenizer.encode(prompt or tokenizer.start)], device=device)
        except ValueError as error:
            raise ValueError(str(error).replace("`text`", "`prompt`")) from None
        out = model.to(device).generate(
            ids,
            self.max_length,
            max_new_tokens=500 if self.max_length is None and self.max_new_tokens is None else self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            generator=torch.Generator(device).manual_seed(self.seed),
            overflow=self.overflow,
        )
        print(tokenizer.decode(out[0].tolist()))


@dataclass
class Plot:
    """Plot the losses of one or more runs in one figure.

    Example: lets-build-gpt plot runs/a runs/b --out losses.png
    """

    runs: tyro.conf.Positional[Annotated[list[Path], tyro.conf.arg(metavar="RUN ...", help_behavior_hint="(required)")]]
    """Run folders."""
    out: Path | None = None
    """Figure: .png, .svg or .pdf; by default loss_curve.png, in the run folder if there is one run."""

    def __call__(self) -> None:
        """Write the figure and print its path."""
        from lets_build_gpt.plots import plot_loss

        if not self.runs:
            raise invalid("runs", "name at least one run folder", [])
        out = self.out or (self.runs[0] if len(self.runs) == 1 else Path()) / LOSS_CURVE
        plot_loss(self.runs, out)
        print(out)


@dataclass
class Export:
    """Write one HTML file with a trained model in it, which writes in a browser with no network.

    The page shows the text, the probabilities of the next character, and the attention of every head.

    Example: lets-build-gpt export runs/book --html --out book.html
    """

    run: RunArgument
    """Run folder."""
    html: bool = False
    """Write the page. It is the only format."""
    out: Path | None = None
    """HTML file; by default page.html in the run folder."""
    prompt: str | None = None
    """Text in the page's prompt; by default a line break."""
    last: bool = False
    """Use the weights of the last checkpoint instead of those with the lowest validation loss."""

    def __call__(self) -> None:
        """Write the page and print its path."""
        from lets_build_gpt.checkpoint import load_run
        from lets_build_gpt.page import export_page

        if not self.html:
            raise ValueError("`--html` must be given: it is the only format")
        out = self.run / "page.html" if self.out is None else self.out
        if out.suffix != ".html":
            raise invalid("out", "end in .html", str(out))
        model, tokenizer = load_run(self.run, last=self.last)
        export_page(model, tokenizer, out, title=f"A GPT in your browser: {self.run.name}", prompt=self.prompt)
        print(out)


def _read_text(name: str | None) -> str:
    """Return the text of the option --text."""
    from lets_build_gpt.data import load_text

    if name != "-":
        return load_text(name)
    text = sys.stdin.read().replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise ValueError("stdin: the text is empty")
    return text


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
