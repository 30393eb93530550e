"""Training: the Trainer, and a run in a folder that can be interrupted, resumed and extended."""
# Replace: the body of Trainer.step and Trainer.evaluate, if your paper trains in another way.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from MODULE._common import run_folder
from MODULE._common.atomic import write_json, write_text
from MODULE._common.device import autocast, dtype_name, pick_device, pick_dtype
from MODULE._common.errors import DivergenceError, check_integer
from MODULE._common.interrupt import defer_sigint
from MODULE._common.metrics import Clock, MetricsWriter
from MODULE._common.optional import is_installed
from MODULE._common.progress import Progress
from MODULE._common.tensors import write_tensors
from MODULE.checkpoint import read_settings, read_state, write_state
from MODULE.config import TrainConfig
from MODULE.data import CharTokenizer, fingerprint, load_text, make_examples, split_lines
from MODULE.loss import cross_entropy
from MODULE.model import Model
from MODULE.optim import AdamW, cosine
from MODULE.recipes import Recipe

Examples = tuple[Int64[Tensor, "_ time"], Int64[Tensor, "_"]]  # contexts and targets
NOT_COMPARED = ("device", "eval_every", "version", "extended")  # on resume: they do not shape the trajectory


@torch.no_grad()
def mean_loss(model: Model, examples: Examples, dtype: torch.dtype = torch.float32) -> float:
    """Return the mean loss of examples, in nats per character, in evaluation mode."""
    model.eval()
    device, total = model.embedding.device, 0.0
    for contexts, targets in zip(*(part.split(4096) for part in examples), strict=True):
        with autocast(device, dtype):
            loss = cross_entropy(model(contexts.to(device)), targets.to(device))
        total += loss.item() * len(targets)
    return total / len(examples[1])


class Trainer:
    """The state of a training run: model, optimizer, number of steps done."""

    def __init__(
        self,
        model: Model,
        config: TrainConfig,
        train: Examples,
        val: Examples,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.dtype = device or torch.device("cpu"), dtype
        self.model, self.config = model.to(self.device), config
        self.train, self.val = train, val
        self.optimizer = AdamW(model, config.weight_decay)
        self.steps_done, self.saved_step = 0, 0
        self.clock = Clock()

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.steps_done >= self.config.steps

    def step(self) -> dict[str, float]:
        """Do one optimizer step. Raises: DivergenceError if loss or gradient is not finite; the weights stay."""
        config, number = self.config, self.steps_done + 1
        # Each step has a seed of its own, so a resumed run needs no generator state to repeat batches and dropout.
        torch.manual_seed(config.seed * 1_000_003 + number)
        rows = torch.randint(len(self.train[1]), (config.batch_size,))
        contexts, targets = (part[rows].to(self.device) for part in self.train)
        lr = cosine(number, config.lr, config.warmup_steps, config.steps)
        self.model.train()
        with autocast(self.device, self.dtype):
            loss = cross_entropy(self.model(contexts), targets)
        self.model.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip or math.inf)
        values = {"loss": loss.item(), "lr": lr, "grad_norm": norm.item()}
        self._check_finite(number, **values)
        self.optimizer.step(number, lr)
        self.steps_done = number
        return values

    def evaluate(self) -> float:
        """Return the validation loss. Raises: DivergenceError if it is not finite."""
        value = mean_loss(self.model, self.val, self.dtype)
        self._check_finite(self.steps_done, val_loss=value)
        return value

    def fit(self, folder: Path, progress: Progress | None = None) -> bool:
        """Train until `config.steps`, with metrics and checkpoints in `folder`; return whether the run finished.

        Ctrl-C and SIGTERM end it between two steps, with a checkpoint.
        """
        writer, config = MetricsWriter(folder / run_folder.METRICS), self.config
        with defer_sigint() as interrupted:
            while not self.finished and not interrupted():
                values = self.step()
                if progress:
                    progress.update(self.steps_done, loss=f"{values['loss']:.3f}")
                if self.steps_done % config.eval_every == 0 or self.finished:
                    values["val_loss"] = self.evaluate()
                    tokens, times = self.steps_done * config.batch_size, self.clock.read()
                    speed = round(tokens / max(times["wall_seconds"], 1e-3), 1)
                    writer.write(step=self.steps_done, tokens=tokens, tokens_per_second=speed, **values, **times)
                    self.save(folder)
            if not self.finished:
                self.save(folder)
        return self.finished

    def save(self, folder: Path) -> None:
        """Write a checkpoint. Raises: DivergenceError instead of saving weights that are not finite."""
        tensors = self._tensors()
        self._check_finite(self.steps_done, weight=float(sum(t.sum() * 0 for t in tensors.values())))
        # The state has the weights as well and comes first: a run killed between the two files resumes from it.
        state = {"step": self.steps_done, **self.clock.read()}
        write_state(folder / run_folder.TRAINING_STATE, tensors, state)
        self.save_weights(folder)
        self.saved_step = self.steps_done

    def save_weights(self, folder: Path) -> None:
        """Write model.safetensors."""
        write_tensors(folder / run_folder.WEIGHTS, self.model.state_dict())

    def load(self, folder: Path) -> None:
        """Restore a checkpoint. Raises: ValueError that names the file if it does not fit."""
        saved, state = read_state(folder / run_folder.TRAINING_STATE)
        tensors = self._tensors()
        if {name: t.shape for name, t in saved.items()} != {name: t.shape for name, t in tensors.items()}:
            raise ValueError(f"{folder / run_folder.TRAINING_STATE}: not the training state of this model")
        for name, tensor in tensors.items():
            tensor.copy_(saved[name])
        self.steps_done = self.saved_step = state["step"]
        self.clock = Clock(state["wall_seconds"], state["cpu_seconds"])

    def _tensors(self) -> dict[str, Tensor]:
        """Return the weights and the moments of the optimizer."""
        return {f"model.{name}": t for name, t in self.model.state_dict().items()} | self.optimizer.state()

    def _check_finite(self, step: int, **values: float) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                what = {"grad_norm": "gradient norm", "val_loss": "validation loss"}.get(name, name)
                shown = "NaN" if math.isnan(value) else "infinite"
                kept = f"The checkpoint of step {self.saved_step:,} is kept. " if self.saved_step else ""
                raise DivergenceError(f"{what} became {shown} at step {step:,}. {kept}Lower the learning rate")


def run_training(
    recipe: Recipe,
    out: Path,
    *,
    text: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    extend: int | None = None,
    again: str = "--extend N to continue",
    say: Callable[[str], None] = lambda message: None,
) -> Trainer:
    """Train a recipe in the folder `out`, or resume it there; the returned Trainer is not finished if interrupted.

    extend: further steps for a finished run. again: the option that `say` suggests for a finished run.
    Raises: ValueError for bad input, before anything is written; DivergenceError.
    """
    if extend is not None:
        check_integer("extend", extend, 1)
    resumed = run_folder.claim_run_folder(out, resume=resume, overwrite=overwrite)
    if extend is not None and not resumed:
        raise ValueError("`extend` must be used with --resume and a finished run")
    config, saved = recipe.train, read_settings(out) if resumed else {}
    if resumed and config.dtype == "auto":
        config = replace(config, dtype=saved["train"]["dtype"])
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device, say)
    content = load_text(text)
    settings: dict[str, Any] = {
        "model": asdict(recipe.model),
        "train": asdict(config) | {"device": str(device), "dtype": dtype_name(dtype)},
        "data": {**asdict(recipe.data), "fingerprint": fingerprint(content)},
        "version": metadata.version("dlpapers-{{NAME}}"),
    }
    if resumed:
        step = read_state(out / run_folder.TRAINING_STATE)[1]["step"]
        settings = _resumed_settings(saved, settings, extend, step, out)
    config = TrainConfig(**settings["train"])

    tokenizer = CharTokenizer.from_text(content)
    parts = split_lines(content, recipe.data.held_out)
    train, val = (make_examples(tokenizer.encode(part), recipe.model.context_length) for part in parts)
    torch.manual_seed(config.seed)
    trainer = Trainer(Model(recipe.model, tokenizer.vocab_size), config, train, val, device, dtype)
    if resumed:
        trainer.load(out)
        trainer.save_weights(out)  # lost if the run was killed between its two files
        MetricsWriter(out / run_folder.METRICS).truncate(trainer.steps_done)
    else:
        run_folder.clear_run_folder(out)
        tokenizer.save(out / run_folder.TOKENIZER)
        write_text(out / run_folder.METRICS, "")
    write_json(out / run_folder.CONFIG, settings)
    if trainer.finished:
        say(f"{out}: already finished at step {trainer.steps_done:,}; add {again}")
        return trainer
    size = trainer.model.num_parameters()
    say(f"Training on {device}, {dtype_name(dtype)}: {size:,} parameters, {config.steps:,} steps, run folder {out}.")
    with Progress(config.steps, initial=trainer.steps_done) as progress:
        finished = trainer.fit(out, progress)
    if finished and is_installed("matplotlib"):
        from MODULE.plots import plot_loss

        plot_loss([out], out / run_folder.LOSS_CURVE)
    return trainer


def _resumed_settings(
    saved: dict[str, Any], now: dict[str, Any], extend: int | None, step: int, folder: Path
) -> dict[str, Any]:
    """Compare the settings of a run with those of the command, and return them with the extension that it asks for.

    "extended": {"from": the steps of the first command, "by": the steps of the latest extension}. A resumed command
    may name the first number of steps, and repeats --extend if its extension was interrupted.
    """
    total = saved["train"]["steps"]
    extended = saved.get("extended", {"from": total, "by": None})
    if now["train"]["steps"] == extended["from"]:
        now["train"]["steps"] = total
    run_folder.check_same_settings(saved, now, folder, NOT_COMPARED)
    if step < total and extend not in (None, extended["by"]):
        raise ValueError(f"`extend` must be used on a finished run; {folder} is at step {step:,} of {total:,}")
    if step >= total and extend is not None:
        now["train"]["steps"] = total + extend
        extended = {"from": extended["from"], "by": extend}
    return now | ({"extended": extended} if extended["by"] else {})
