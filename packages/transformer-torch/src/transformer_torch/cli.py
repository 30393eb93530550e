"""Command line: train a Transformer on parallel text, translate, and score."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from transformer_torch._common.cli import Presets, command_line, run, say
from transformer_torch._common.errors import (
    MissingDependencyError,
    check_integer,
    check_not_negative,
    invalid,
)
from transformer_torch.config import Dtype, TrainConfig, TransformerConfig
from transformer_torch.recipes import RECIPES, DataConfig, Recipe

if TYPE_CHECKING:
    from transformer_torch.inference.translate import Translator
    from transformer_torch.training.trainer import Metrics, Trainer

PROG = "transformer-torch"
LINES_AT_ONCE = 512


def _progress_report(
    trainer: Trainer, show: Callable[..., None], message: Callable[[str], None]
) -> Callable[[Metrics], None]:
    """Return a function that shows the metrics of a step, and a line for each evaluation."""

    def report(metrics: Metrics) -> None:
        show(int(metrics["step"]), loss=f"{metrics['loss']:.3f}")
        if "val_loss" in metrics:
            times = f"{metrics['tokens_per_second']:,.0f} tokens/s  {metrics['cpu_seconds']:,.0f} CPU-s"
            losses = f"loss {metrics['loss']:.3f}  validation {metrics['val_loss']:.4f}"
            message(f"step {metrics['step']:,}  {losses}  {times}")

    return report


def _run_training(recipe: Recipe, out: Path, resume: bool, overwrite: bool, extend: int) -> Translator:
    """Train into a folder. Raises: TrainingInterrupted, after a checkpoint, when a signal has arrived."""
    from transformer_torch._common.interrupt import TrainingInterrupted, defer_sigint
    from transformer_torch._common.malloc import keep_freed_memory
    from transformer_torch._common.progress import Progress
    from transformer_torch.inference.translate import Translator
    from transformer_torch.training.distributed import rank_and_world
    from transformer_torch.training.run import prepare

    keep_freed_memory()
    shown = rank_and_world()[0] == 0
    prepared = prepare(
        recipe, out, resume=resume, overwrite=overwrite, extend=extend, say=say if shown else lambda text: None
    )
    trainer, tokenizer = prepared.trainer, prepared.tokenizer
    if shown:
        sizes = f"vocabulary {len(tokenizer):,}, {trainer.model.num_parameters():,} parameters"
        say(f"{len(trainer.pairs):,} training pairs, {len(trainer.valid):,} validation pairs, {sizes}")
        if trainer.finished:
            say(f"{out}: already finished at step {trainer.progress.step:,}; to train longer, add --extend N")
    with (
        defer_sigint() as stopping,
        Progress(trainer.config.steps, initial=trainer.progress.step, shown=shown) as progress,
    ):
        model = trainer.fit(_progress_report(trainer, progress.update, progress.message), stopping)
    if trainer.interrupted:
        again = command_line(PROG, "--resume")
        raise TrainingInterrupted(f"interrupted at step {trainer.progress.step:,}; continue with: {again}")
    return Translator(model, tokenizer)


def _draw(*draw: Callable[[], Path]) -> None:
    """Draw figures where matplotlib is installed."""
    try:
        for figure in draw:
            say(f"wrote {figure()}")
    except MissingDependencyError as error:
        say(f"no figures: {error}")


@dataclass(frozen=True)
class ModelOptions(TransformerConfig):
    """The options of the model: all but the padding id, which the tokenizer determines."""

    pad_id: tyro.conf.Suppress[int] = 0


@dataclass
class Train:
    """Train on parallel text or a synthetic task.

    Example: transformer-torch train small --src train.de --tgt train.en --out runs/de-en
    """

    model: ModelOptions
    """Sizes of the model."""
    train: TrainConfig
    """Training settings."""
    data: DataConfig
    """Text and tokenizer."""
    out: Path
    """Run folder."""
    resume: bool = False
    """Continue the run in --out: repeat the same command with this option."""
    overwrite: bool = False
    """Replace the run in --out."""
    extend: int = 0
    """With --resume: steps to add to a finished run."""

    def __call__(self) -> None:
        """Train, then draw the losses."""
        from transformer_torch.plots import plot_loss
        from transformer_torch.training.distributed import process_group

        sizes = asdict(self.model)
        recipe = Recipe("train", "", TransformerConfig(**sizes), self.train, self.data)
        with process_group() as rank:
            _run_training(recipe, self.out, self.resume, self.overwrite, self.extend)
        if rank == 0:
            say(f"wrote {self.out / 'model.safetensors'}")
            _draw(lambda: plot_loss([self.out]))


@dataclass
class Demo:
    """Learn to read dates in seven languages: 1-2 CPU-minutes, no dataset needed.

    A finished demo is used again; an interrupted one is resumed.

    Example: transformer-torch demo
    """

    out: Path = Path(f"runs/{PROG}-demo")
    """Run folder."""
    overwrite: bool = False
    """Train again, replacing the run in --out."""
    steps: int = RECIPES["dates"].train.steps
    """Optimizer steps."""
    seed: int = 0
    """Seed of the initial weights and the order of the batches."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    dtype: Dtype = "auto"
    """Autocast dtype; auto is bfloat16 where it is faster."""

    def __call__(self) -> None:
        """Train, test, show; on a terminal, read dates."""
        from transformer_torch.demo import EXAMPLE, N_TESTED, score_on_held_out_days
        from transformer_torch.plots import plot_attention, plot_loss

        recipe = RECIPES["dates"]
        decay = min(recipe.train.decay_steps, self.steps)
        train = replace(
            recipe.train, steps=self.steps, decay_steps=decay, seed=self.seed, device=self.device, dtype=self.dtype
        )
        if (self.out / "training_state.safetensors").exists() and not self.overwrite:
            say(f"using the run in {self.out}; to train again, add --overwrite")
        translator = _run_training(replace(recipe, train=train), self.out, not self.overwrite, self.overwrite, 0)
        pairs, exact = score_on_held_out_days(translator)
        for source, iso in pairs[:8]:
            print(f"{source:>36}  ->  {iso}")
        print(f"{exact} of {N_TESTED} dates of days that training never had are exactly right")
        _draw(lambda: plot_loss([self.out]), lambda: plot_attention(translator, EXAMPLE, self.out / "attention.png")[0])
        say(f"Next: echo '4. März 2021' | {PROG} translate {self.out}")
        if sys.stdin.isatty():
            _prompt(translator)


def _prompt(translator: Translator) -> None:
    """Translate what is typed, until a blank line or Ctrl-D."""
    print("Type a date (a blank line or Ctrl-D ends):")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        if not line:
            return
        print(translator.translate([line], beam_size=1)[0])


@dataclass
class Translate:
    """Translate lines, in order, as they arrive.

    A line that is too long is truncated with a warning; a blank line stays blank.

    Example: transformer-torch translate runs/de-en < test.de > test.en
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    input: Path = Path("-")
    """UTF-8 text, one sentence per line, .gz too; - is stdin."""
    beam_size: int = 4
    """Hypotheses of beam search; 1 is greedy decoding."""
    length_alpha: float = 0.6
    """Exponent of the length norm; larger values prefer longer translations."""
    length_norm: Literal["gnmt", "power"] = "gnmt"
    """Length norm: gnmt is ((5 + length) / 6)^alpha, as in the paper; power is length^alpha."""
    nbest: int = 1
    """Translations of each line, at most the beam size. Above 1: line number, score and text, tab-separated."""
    batch_size: int = 64
    """Sentences in a batch."""
    max_source_tokens: int | None = None
    """Longest source line in tokens; none: the longest in training. Longer lines are truncated."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    dtype: Dtype = "float32"
    """Dtype of the weights. In bfloat16 a translation may depend on the other lines of its batch."""

    def __post_init__(self) -> None:
        check_integer("beam_size", self.beam_size, 1)
        check_integer("nbest", self.nbest, 1, self.beam_size)
        check_integer("batch_size", self.batch_size, 1)
        check_not_negative("length_alpha", self.length_alpha)
        if self.max_source_tokens is not None:
            check_integer("max_source_tokens", self.max_source_tokens, 2)

    def __call__(self) -> None:
        """Print one line for each line of input, `nbest` lines with --nbest."""
        from transformer_torch._common.malloc import keep_freed_memory
        from transformer_torch.inference.translate import Translator

        keep_freed_memory()
        translator = Translator.load(self.run, self.device, self.dtype)
        first = 1
        for block in self._blocks():

            def warn(line: int, tokens: int, kept: int, first: int = first) -> None:
                say(f"warning: line {first + line:,} has {tokens:,} tokens; translated the first {kept:,}")

            pools = translator.nbest(
                block,
                self.beam_size,
                self.length_alpha,
                self.length_norm,
                batch_size=self.batch_size,
                max_source_tokens=self.max_source_tokens,
                truncated=warn,
            )
            for number, pool in enumerate(pools, first):
                for text, score in pool[: self.nbest]:
                    print(text if self.nbest == 1 else f"{number}\t{score:.4f}\t{text}")
            sys.stdout.flush()
            first += len(block)

    def _blocks(self) -> Iterator[list[str]]:
        from transformer_torch.data.corpus import read_lines
        from transformer_torch.inference.stream import line_blocks

        if str(self.input) == "-":
            yield from line_blocks(sys.stdin, LINES_AT_ONCE)
        else:
            lines = read_lines(self.input)
            yield from (lines[i : i + LINES_AT_ONCE] for i in range(0, len(lines), LINES_AT_ONCE))


@dataclass
class Score:
    """Print BLEU and chrF of a translation, with the sacreBLEU signatures.

    Example: transformer-torch score hypothesis.en reference.en
    """

    hypothesis: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="HYPOTHESIS")]
    """Translated lines; - is stdin."""
    reference: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="REFERENCE")]
    """Reference lines."""

    def __call__(self) -> None:
        """Print two lines."""
        from transformer_torch.evaluation.bleu import score_files

        for line in score_files(self.hypothesis, self.reference):
            print(line)


@dataclass
class Average:
    """Write a run whose weights are the mean of several runs of one model (section 6.1).

    Example: transformer-torch average runs/a runs/b --out runs/mean
    """

    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN ...", help_behavior_hint="(required)")
    ]
    """Run folders with equal sizes and tokenizers."""
    out: Path
    """Run folder to write; `translate` takes it like any other."""
    overwrite: bool = False
    """Replace what is in --out."""

    def __call__(self) -> None:
        """Write a run folder."""
        from transformer_torch.training.averaging import average_runs

        say(f"wrote {average_runs(self.runs, self.out, self.overwrite)}")


@dataclass
class Plot:
    """Draw the losses of a run, and with --line what its decoder attends to.

    Example: transformer-torch plot runs/de-en --line "Ein Hund läuft über die Wiese."
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    line: str | None = None
    """Source line for attention.png."""

    def __call__(self) -> None:
        """Write loss_curve.png, and attention.png with --line."""
        from transformer_torch.inference.translate import Translator
        from transformer_torch.plots import plot_attention, plot_loss

        if self.line is not None and not self.line.strip():
            raise invalid("line", "hold text", self.line)
        say(f"wrote {plot_loss([self.run])}")
        if self.line is not None:
            figure, translation = plot_attention(Translator.load(self.run), self.line, self.run / "attention.png")
            print(translation)
            say(f"wrote {figure}")


def _default_recipe(arguments: Sequence[str]) -> str:
    """The recipe of a command that names none: small where text is given, else dates."""
    text = any(argument.split("=")[0] in ("--src", "--data") for argument in arguments)
    return "small" if text else "dates"


def _train_preset(recipe: Recipe) -> Train:
    return Train(ModelOptions(**asdict(recipe.model)), recipe.train, recipe.data, Path(f"runs/{PROG}-{recipe.name}"))


COMMANDS: dict[str, type | Presets] = {
    "demo": Demo,
    "train": Presets(
        "Train on parallel text or a synthetic task.",
        {name: (recipe.description, _train_preset(recipe)) for name, recipe in RECIPES.items()},
        _default_recipe,
    ),
    "translate": Translate,
    "score": Score,
    "average": Average,
    "plot": Plot,
}


def main() -> None:
    """Run the command line."""
    run(
        COMMANDS,
        prog=PROG,
        description="Attention Is All You Need: train a Transformer on parallel text, translate, score.",
    )


if __name__ == "__main__":
    main()
