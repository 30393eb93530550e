"""The training command: options, progress, and what happens on Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from transformer_torch._common.cli import Presets, command_line, say
from transformer_torch._common.errors import MissingDependencyError
from transformer_torch.config import TrainConfig, TransformerConfig
from transformer_torch.recipes import RECIPES, DataConfig, Recipe

if TYPE_CHECKING:
    from transformer_torch.inference.translate import Translator
    from transformer_torch.training.trainer import Metrics, Trainer

PROG = "transformer-torch"


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


def run_training(
    recipe: Recipe, out: Path, resume: bool, overwrite: bool, extend: int = 0, init_from: Path | None = None
) -> Translator:
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
        recipe,
        out,
        resume=resume,
        overwrite=overwrite,
        extend=extend,
        init_from=init_from,
        say=say if shown else lambda text: None,
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


def draw(*figures: Callable[[], Path]) -> None:
    """Draw figures where matplotlib is installed."""
    try:
        for figure in figures:
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
    init_from: Path | None = None
    """Run folder, or `pretrained:dates`, whose weights and tokenizer are the start: fine-tuning on other text."""

    def __call__(self) -> None:
        """Train, then draw the losses."""
        from transformer_torch.plots import plot_loss
        from transformer_torch.training.distributed import process_group

        sizes = asdict(self.model)
        recipe = Recipe("train", "", TransformerConfig(**sizes), self.train, self.data)
        with process_group() as rank:
            run_training(recipe, self.out, self.resume, self.overwrite, self.extend, self.init_from)
        if rank == 0:
            say(f"wrote {self.out / 'model.safetensors'}")
            draw(lambda: plot_loss([self.out]))


def _default_recipe(arguments: Sequence[str]) -> str:
    """The recipe of a command that names none: small where text is given, else dates."""
    text = any(argument.split("=")[0] in ("--src", "--data") for argument in arguments)
    return "small" if text else "dates"


def _train_preset(recipe: Recipe) -> Train:
    return Train(ModelOptions(**asdict(recipe.model)), recipe.train, recipe.data, Path(f"runs/{PROG}-{recipe.name}"))


TRAIN = Presets(
    "Train on parallel text or a synthetic task.",
    {name: (recipe.description, _train_preset(recipe)) for name, recipe in RECIPES.items()},
    _default_recipe,
)
