"""Commands that train: demo, train, finetune."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from gpt2._common.cli import Presets, command_line, say
from gpt2._common.errors import MissingDependencyError, invalid
from gpt2._common.interrupt import TrainingInterrupted
from gpt2.config import GPT2Config, OptimConfig, Order, Size, TrainConfig
from gpt2.recipes import DEMO, RECIPES, Recipe

if TYPE_CHECKING:
    import torch

    from gpt2.training.run import RunStart
    from gpt2.training.trainer import Trainer

CUSTOM = "custom"


@dataclass
class Train:
    """Train a model from random weights.

    DATA is a folder that `gpt2 prepare` wrote. Instead of it, or before it, name a recipe. Repeat the command with
    --resume to continue an interrupted run. Under torchrun it trains with several processes.

    Example: gpt2 train data/a --d-model 256 --n-layers 6 --steps 2000
    """

    data: tyro.conf.Positional[Path | None] = None
    """Folder of token files; a recipe has its own data."""
    out: Path = Path("runs/gpt2")
    """Run folder."""
    resume: bool = False
    """Continue the run in the run folder from its last checkpoint."""
    overwrite: bool = False
    """Replace the run in the run folder."""
    extend: int | None = None
    """Continue a finished run for this many more steps (with --resume)."""
    size: Size | None = None
    """One of the paper's sizes; the next four options override single values of it."""
    d_model: int | None = None
    """Width of the residual stream; 128 by default."""
    n_heads: int | None = None
    """Attention heads in each layer; 4 by default."""
    n_layers: int | None = None
    """Number of blocks; 4 by default."""
    context_length: int | None = None
    """Longest input in tokens; 128 by default."""
    dropout: float = 0.0
    """Dropout of embeddings, attention weights, and sub-blocks."""
    order: Order = "random"
    """Windows at random positions, each window once per pass, or whole documents packed into rows."""
    eval_windows: int = 0
    """Number of held-out windows in an evaluation; 0: all."""
    device: str = "auto"
    """Device: auto, cpu, cuda, or mps."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Training settings."""
    recipe: tyro.conf.Suppress[str | None] = None

    def __call__(self) -> None:
        """Train, with messages on stderr; print the last losses."""
        from gpt2.training.run import start_run

        if self.data is None and self.recipe is None:
            choices = ", ".join(RECIPES)
            raise ValueError(f"`data` must be a folder that `gpt2 prepare` wrote, or a recipe ({choices}), got neither")
        start = start_run(self.out, self.train, resume=self.resume, overwrite=self.overwrite, extend=self.extend)
        with training_process(self.device, start) as (device, callbacks):
            self._train(start, device, callbacks)

    def _train(self, start: RunStart, device: torch.device, callbacks: dict[str, Any]) -> None:
        import torch

        from gpt2.data.packing import PackedDocuments
        from gpt2.data.token_file import TokenFiles, Windows
        from gpt2.model import GPT2
        from gpt2.training.trainer import Trainer

        files = TokenFiles(self._data_folder())
        tokenizer = files.tokenizer()
        config = self._model_config(tokenizer.vocab_size, tokenizer.eos_id)
        seed = self.train.seed
        data: Any
        if self.order == "documents":
            if self.eval_windows:
                raise invalid("eval_windows", "be 0 with --order documents", self.eval_windows)
            data = PackedDocuments(files, config.context_length, seed)
        else:
            data = Windows(files, config.context_length, seed, self.order, self.eval_windows)
        torch.manual_seed(seed)
        model = GPT2(config).to(device)
        run_trainer(Trainer(model, data, start.config, self.out, tokenizer=tokenizer, **callbacks), start)

    def _data_folder(self) -> Path:
        if self.data is not None:
            return self.data
        from gpt2.data.corpora import write_recipe_data
        from gpt2.training import distributed

        folder = self.out / "data"
        if distributed.rank() == 0:
            write_recipe_data(RECIPES[str(self.recipe)].data, folder)
        distributed.barrier()
        return folder

    def _model_config(self, vocab_size: int, eos_id: int | None) -> GPT2Config:
        given = {name: getattr(self, name) for name in ("d_model", "n_heads", "n_layers", "context_length")}
        given = {name: value for name, value in given.items() if value is not None}
        more = {"vocab_size": vocab_size, "eos_id": eos_id, "dropout": self.dropout}
        if self.size is not None:
            return GPT2Config.named(self.size, **given, **more)
        return GPT2Config(**({"d_model": 128, "n_heads": 4, "n_layers": 4, "context_length": 128} | given | more))


def train_presets() -> Presets:
    """Return `train` with its recipes as presets, and `custom` for your own data."""
    values: dict[str, Any] = {CUSTOM: ("Your own data: gpt2 train DATA [OPTIONS].", Train())}
    values |= {name: (recipe.description, _of_recipe(recipe)) for name, recipe in RECIPES.items()}
    description = "Train a model from random weights, on your own data or by a recipe."
    return Presets(description, values, default=lambda arguments: CUSTOM)


def _of_recipe(recipe: Recipe) -> Train:
    model = recipe.model
    return Train(
        out=Path(f"runs/gpt2-{recipe.name}"),
        d_model=model.d_model,
        n_heads=model.n_heads,
        n_layers=model.n_layers,
        context_length=model.context_length,
        dropout=model.dropout,
        eval_windows=recipe.data.eval_windows,
        train=recipe.train,
        recipe=recipe.name,
    )


@dataclass
class Demo:
    """Train a small GPT-2 on Python's documentation (1 CPU-min), show an attention head, and let the model write.

    With --resume a finished demo is shown again without training; --overwrite trains it again.

    Example: gpt2 demo
    """

    out: Path = Path("runs/gpt2-demo")
    """Run folder."""
    resume: bool = False
    """Continue an interrupted demo."""
    overwrite: bool = False
    """Train again, although the run folder holds a demo."""
    extend: int | None = None
    """Continue a finished demo for this many more steps (with --resume)."""
    steps: int = DEMO.train.steps
    """Optimizer steps."""
    log_every: int = DEMO.train.log_every
    """Steps between lines of metrics.jsonl."""
    eval_every: int = DEMO.train.eval_every
    """Steps between evaluations on the held-out data and checkpoints."""
    lr: float = DEMO.train.optim.lr
    """Peak learning rate."""
    seed: int = 0
    """Seed of initialization, data order, and sampling."""
    device: str = "auto"
    """Device: auto, cpu, cuda, or mps."""

    def __call__(self) -> None:
        """Train, then print what the model learned."""
        config = replace(
            DEMO.train,
            steps=self.steps,
            log_every=self.log_every,
            eval_every=self.eval_every,
            seed=self.seed,
            optim=replace(DEMO.train.optim, lr=self.lr),
        )
        replace(
            _of_recipe(DEMO),
            out=self.out,
            resume=self.resume,
            overwrite=self.overwrite,
            extend=self.extend,
            device=self.device,
            train=config,
        )()
        from gpt2.demo import show

        show(self.out, print, self.seed)
        print(f'Next: gpt2 generate {self.out} --prompt "The function " --temperature 0.7')


@dataclass
class Finetune:
    """Continue training a model on your own text.

    TEXT is a text file, or .jsonl with "prompt" and "completion" in each line. Then the loss covers completions only.

    Example: gpt2 finetune models/gpt2-124M --text pairs.jsonl --lora 8
    """

    model: tyro.conf.Positional[Path]
    """Run folder, Hugging Face folder, or .pt file."""
    text: Path
    """Text or .jsonl file."""
    out: Path = Path("runs/gpt2-finetune")
    """Run folder."""
    resume: bool = False
    """Continue the run in the run folder from its last checkpoint."""
    overwrite: bool = False
    """Replace the run in the run folder."""
    extend: int | None = None
    """Continue a finished run for this many more steps (with --resume)."""
    lora: int = 0
    """Rank of LoRA updates, merged into the written model; 0 trains all weights."""
    held_out: float = 0.1
    """Fraction of the examples at the end that is kept for validation."""
    tokenizer: str | None = None
    """Tokenizer, if the model's folder has none."""
    device: str = "auto"
    """Device: auto, cpu, cuda, or mps."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=300, batch_size=16, eval_every=50, patience=3, optim=OptimConfig(lr=3e-4, warmup_steps=20)
        )
    )
    """Training settings."""

    def __call__(self) -> None:
        """Train, with messages on stderr; print the last losses."""
        from gpt2.training.run import start_run

        if self.out.exists() and self.out.resolve() == self.model.resolve():
            raise ValueError(f"`out` must be another folder than the model's, got {str(self.out)!r}")
        start = start_run(self.out, self.train, resume=self.resume, overwrite=self.overwrite, extend=self.extend)
        with training_process(self.device, start) as (device, callbacks):
            self._train(start, device, callbacks)

    def _train(self, start: RunStart, device: torch.device, callbacks: dict[str, Any]) -> None:
        from gpt2.data import tokenizers
        from gpt2.pretrained.weights import load
        from gpt2.training.finetune import Examples, make_finetuner, read_examples

        model = load(self.model)
        tokenizer = tokenizers.load(self.model, self.tokenizer)
        tokenizers.check_fits(tokenizer, model.config.vocab_size)
        length = model.config.context_length
        data = Examples(read_examples(self.text, tokenizer, length), length, self.train.seed, self.held_out)
        model = model.to(device)
        trainer = make_finetuner(model, data, start.config, self.out, self.lora, tokenizer=tokenizer, **callbacks)
        run_trainer(trainer, start)


@contextmanager
def training_process(device_name: str, start: RunStart) -> Iterator[tuple[torch.device, dict[str, Any]]]:
    """Set the process up for training; yield its device and the callbacks of a Trainer."""
    from gpt2._common.malloc import keep_freed_memory

    keep_freed_memory()  # before the first large allocation
    from gpt2._common.device import pick_device
    from gpt2._common.progress import Progress
    from gpt2.training import distributed

    with distributed.process_group(pick_device(device_name)) as device:
        first = distributed.rank() == 0
        with Progress(start.config.steps, initial=start.step, shown=first) as bar:
            latest: dict[str, Any] = {}

            def on_log(line: dict[str, Any]) -> None:
                latest["loss"] = f"{line['loss']:.4f}"
                if "val_loss" in line:
                    bar.message(log_line(line))

            callbacks = {"on_step": lambda step: bar.update(step, **latest), "on_log": on_log}
            yield device, {**callbacks, "say": bar.message}


def log_line(line: dict[str, Any]) -> str:
    """Return a line of the metrics for people."""
    val_loss = f"  val_loss {line['val_loss']:.4f}" if "val_loss" in line else ""
    return f"step {line['step']:6d}  loss {line['loss']:.4f}{val_loss}  {line['tokens_per_second']:,.0f} tokens/s"


def run_trainer(trainer: Trainer, start: RunStart) -> None:
    """Train; print the last losses and draw the loss curve, or say how to continue.

    Raises: TrainingInterrupted after Ctrl-C.
    """
    from gpt2.training import distributed

    first = distributed.rank() == 0
    last = trainer.fit(start)
    if not first:
        return
    if start.finished:
        say(f"{trainer.folder}: already finished; add --extend N to continue it for N more steps")
        return
    if trainer.interrupted:
        command = command_line("gpt2", "--resume")
        raise TrainingInterrupted(f"interrupted at step {trainer.progress.step}; continue with: {command}")
    print(", ".join(f"{key} {last[key]:.4f}" for key in ("loss", "val_loss") if key in last))
    from gpt2.plots import plot_loss

    try:
        plot_loss([trainer.folder])
    except MissingDependencyError as error:
        say(f"No loss curve was drawn: {error}")
