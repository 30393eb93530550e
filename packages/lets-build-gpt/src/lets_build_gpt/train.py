"""The training loop: batches, optimizer steps, evaluation, checkpoints. `run.py` has the rules of the run folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lets_build_gpt._common.device import DTYPES, autocast
from lets_build_gpt._common.errors import DivergenceError
from lets_build_gpt._common.interrupt import defer_sigint
from lets_build_gpt._common.metrics import Clock, MetricsWriter
from lets_build_gpt._common.run_folder import METRICS, TRAINING_STATE, WEIGHTS
from lets_build_gpt.checkpoint import TrainState, load_training_state, save_training_state, save_weights
from lets_build_gpt.config import ModelConfig, OptimConfig, TrainConfig, resolve_warmup
from lets_build_gpt.data import Batches, split
from lets_build_gpt.evaluate import evaluate
from lets_build_gpt.model import Model
from lets_build_gpt.optim import make_optimizers, set_learning_rate
from lets_build_gpt.tokenizer import CharTokenizer

LOG_LINES = 200  # lines of metrics.jsonl for a run of up to 10,000 steps
MAX_LOG_EVERY = 50  # steps between two lines of a longer run


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the step, its validation loss, the lowest one so far and its step, and a sample text."""

    step: int
    val_loss: float
    best_step: int
    best_val_loss: float
    sample: str


class Trainer:
    """A model, its optimizers and its batches.

    text: the whole text; its first 90 % are trained on. folder: the run folder, which `fit` and `save` write to.
    train.device and train.dtype must be resolved (not "auto"). run_id: marks the files of the run, so that `load`
    refuses those of another one.
    Raises: ValueError if the text is too short.
    """

    def __init__(
        self,
        model: ModelConfig,
        optim: OptimConfig,
        train: TrainConfig,
        text: str,
        folder: Path,
        run_id: str = "",
    ) -> None:
        self.config, self.folder = train, folder
        self.warmup_steps = resolve_warmup(optim, train.steps)
        self.grad_clip = optim.grad_clip
        self.device, self.dtype = torch.device(train.device), DTYPES[train.dtype]
        self.tokenizer = CharTokenizer.from_text(text)
        ids, self.val_ids = (torch.tensor(self.tokenizer.encode(part)) for part in split(text))
        self.batches = Batches(ids, train.batch_size, model.context_length, train.seed)
        torch.manual_seed(train.seed)
        self.model = Model.from_config(replace(model, vocab_size=self.tokenizer.vocab_size)).to(self.device)
        self.optimizers = make_optimizers(self.model, optim, self.dtype)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.loss_function: Callable[[Tensor, Tensor], Tensor] = self.model.loss
        if train.compile:
            self.loss_function = torch.compile(self.model.loss)
        self.state = TrainState(run_id=run_id)
        self.metrics = MetricsWriter(folder / METRICS)
        self._saved_step: int | None = None
        self._grad_norm: float | None = None
        self._clock = Clock()

    @property
    def steps_done(self) -> int:
        """Optimizer steps done."""
        return self.state.step

    # ------------------------------------------------------------------------------------------- steps

    def step(self) -> float:
        """Take one optimizer step and return the loss of its batch. Raises: DivergenceError if it is not finite."""
        done = self.state.step
        # each step has its own seed, so that a resumed run has the dropout of an uninterrupted one
        torch.manual_seed(self.config.seed + 1_000_003 * done)
        x, y = (t.to(self.device) for t in self.batches.batch(done))
        with autocast(self.device, self.dtype):
            loss = self.loss_function(x, y)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged("loss", value, done + 1)
        self.scaler.scale(loss).backward()
        set_learning_rate(self.optimizers, done, self.config.steps, self.warmup_steps)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        self.state.step += 1
        if self._log_due():
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
            # float16 skips a step whose gradient overflows; JSON has no infinity
            self._grad_norm = norm.item() if torch.isfinite(norm) else None
        if self.grad_clip:  # of AdamW alone: the size of Muon's update does not depend on the size of the gradient
            clipped = [p for group in self.optimizers[-1].param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(clipped, self.grad_clip)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self.model.zero_grad()
        self.state.recent.append(value)
        return value

    def evaluate(self) -> Evaluation:
        """Score the whole validation split in float32 and sample a text.

        Raises: DivergenceError if the validation loss is not finite.
        """
        state = self.state
        value = evaluate(self.model, self.val_ids)
        if not math.isfinite(value):
            raise self._diverged("validation loss", value, state.step)
        state.val_loss = value
        if state.best_val_loss is None or value < state.best_val_loss:
            state.best_step, state.best_val_loss = state.step, value
        return Evaluation(state.step, value, state.best_step or state.step, state.best_val_loss, self.sample())

    def sample(self) -> str:
        """Return a text of `sample_tokens` characters, sampled at temperature 0.8 with the seed of the run."""
        generator = torch.Generator(self.device).manual_seed(self.config.seed)
        start = torch.tensor([self.tokenizer.encode(self.tokenizer.start)], device=self.device)
        length = self.config.sample_tokens
        ids = self.model.generate(start, max_new_tokens=length, temperature=0.8, generator=generator)
        return self.tokenizer.decode(ids[0].tolist())

    def fit(
        self,
        on_step: Callable[[int, float], object] | None = None,
        on_evaluation: Callable[[Evaluation], object] | None = None,
    ) -> bool:
        """Train until all steps are done. Return False if Ctrl-C or SIGTERM ended it earlier, after a checkpoint.

        on_step: called with the number of steps done and the loss of the last one.
        Raises: DivergenceError if a loss is not finite. The last checkpoint is then still valid.
        """
        eval_every = self.config.eval_every
        checkpoint_every = self.config.checkpoint_every or eval_every
        with defer_sigint() as interrupted:
            while self.state.step < self.config.steps and not interrupted():
                loss = self.step()
                if on_step:
                    on_step(self.state.step, loss)
                found = self.evaluate() if self._due(eval_every) else None
                if self._log_due():
                    self._log(None if found is None else found.val_loss)
                if found is not None or self._due(checkpoint_every):
                    self.save()
                if found is not None and on_evaluation:
                    on_evaluation(found)
            finished = self.state.step >= self.config.steps
            if not finished and self._saved_step != self.state.step:
                self.save()
        return finished

    def _due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.config.steps

    def _log_due(self) -> bool:
        log_every = min(-(-self.config.steps // LOG_LINES), MAX_LOG_EVERY)
        return self._due(log_every) or self._due(self.config.eval_every)

    def _diverged(self, what: str, value: float, step: int) -> DivergenceError:
        kept = (
            "No checkpoint exists yet"
            if self._saved_step is None
            else f"The checkpoint of step {self._saved_step} is kept"
        )
        name = "NaN" if math.isnan(value) else "infinite"
        return DivergenceError(f"{what} became {name} at step {step}. {kept}. Lower the learning rate")

    # --------------------------------------------------------------------------------------- the folder

    def _log(self, val_loss: float | None) -> None:
        """Append a line to metrics.jsonl. Its training loss is the mean since the previous line."""
        tokens = self.state.step * self.config.batch_size * self.batches.context_length
        recent, times = self.state.recent, self._clock.read()
        self.metrics.write(
            step=self.state.step,
            tokens=tokens,
            loss=sum(recent) / len(recent) if recent else None,
            val_loss=val_loss,
            lr=self.optimizers[0].param_groups[0]["lr"],
            grad_norm=self._grad_norm,
            **times,
            tokens_per_second=round(tokens / max(times["wall_seconds"], 1e-3), 1),
        )
        recent.clear()

    def save(self) -> None:
        """Write the training state, and model.safetensors if the weights are the best so far.

        Raises: DivergenceError if a weight is not finite; the files of the last checkpoint stay as they are.
        """
        for parameter in self.model.parameters():
            if not torch.isfinite(parameter).all():
                raise self._diverged("a weight", math.nan, self.state.step)
        times = self._clock.read()
        self.state.wall_seconds, self.state.cpu_seconds = times["wall_seconds"], times["cpu_seconds"]
        self.state.scaler = self.scaler.state_dict()
        save_training_state(self.folder / TRAINING_STATE, self.model, self.optimizers, self.state)
        self._saved_step = self.state.step
        self._save_best()

    def load(self) -> None:
        """Restore the last checkpoint of the run folder and drop later lines of its metrics.

        Raises: ValueError that names the file if one is missing, damaged, or belongs to another run.
        """
        path = self.folder / TRAINING_STATE
        self.state = load_training_state(path, self.model, self.optimizers, self.state.run_id)
        self.scaler.load_state_dict(self.state.scaler)
        self.metrics.truncate(self.state.step)
        self._saved_step = self.state.step
        self._clock = Clock(self.state.wall_seconds, self.state.cpu_seconds)
        self._save_best()  # a run that was killed between the two files of a checkpoint has no new model.safetensors

    def _save_best(self) -> None:
        if self.state.best_step in (None, self.state.step):
            about = {"step": self.state.step, "val_loss": self.state.best_val_loss, "run_id": self.state.run_id}
            save_weights(self.model, self.folder / WEIGHTS, **about)
