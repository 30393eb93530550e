"""The training loop, with checkpoints that a resumed run continues bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attention_numpy import checkpoint
from attention_numpy._common.atomic import read_json_object, write_json, write_text
from attention_numpy._common.errors import DivergenceError, check_integer
from attention_numpy._common.metrics import Clock, MetricsWriter
from attention_numpy._common.run_folder import (
    CONFIG,
    METRICS,
    TRAINING_STATE,
    WEIGHTS,
    check_same_settings,
    claim_run_folder,
    clear_run_folder,
)
from attention_numpy.anomaly import detect_anomaly
from attention_numpy.checkpoint import NOT_COMPARED, RunConfig
from attention_numpy.config import DataConfig, ModelConfig, TrainConfig
from attention_numpy.data.source import open_source
from attention_numpy.evaluate import evaluate
from attention_numpy.layers import new_rng
from attention_numpy.loss import cross_entropy
from attention_numpy.optim import Adam, Schedule, clip_gradients, cosine, linear, noam

CROSS_ATTENTION = "cross_attention.png"
Metrics = dict[str, Any]


def make_schedule(config: TrainConfig, d_model: int) -> Schedule:
    """Return the learning-rate schedule of a configuration. A warm-up longer than the run ends with it."""
    if config.schedule == "noam":
        return noam(d_model, config.warmup_steps, config.lr_scale)
    make = cosine if config.schedule == "cosine" else linear
    return make(config.lr, min(config.warmup_steps, config.steps), config.steps)


class Trainer:
    """A model with its data, optimizer and random generators.

    Raises: ValueError if the data cannot be used, or hold fewer than `train.eval_count` held-out examples.
    """

    def __init__(
        self, model: ModelConfig, train: TrainConfig, data: DataConfig, *, detect_anomalies: bool = False
    ) -> None:
        self.source = open_source(data, train.eval_count)
        self.config = RunConfig(self.source.model_config(model), train, data, self.source.fingerprint)
        self.model: Any = checkpoint.build_model(self.config.model, train.seed)
        self.optimizer = Adam(self.model.parameters(), schedule=make_schedule(train, model.d_model))
        self.rng = new_rng(train.seed + 1)  # samples the batches
        self.detect_anomalies = detect_anomalies
        self.tokens = 0
        self.clock = Clock()
        self.saved_step: int | None = None
        self._folder: Path | None = None  # the run that was loaded
        self._loaded_times = {"wall_seconds": 0.0, "cpu_seconds": 0.0}

    @property
    def step_number(self) -> int:
        """Optimizer steps done so far."""
        return self.optimizer.t

    def step(self) -> Metrics:
        """Train on one batch: forward, backward, clipping, Adam. Return its `loss` and `grad_norm`.

        Raises: DivergenceError, before the weights change, if either is NaN or infinite.
        """
        inputs, targets = self.source.batch(self.rng, self.config.train.batch_size)
        ignored = self.source.ignore_index
        watch: AbstractContextManager[Any] = detect_anomaly(self.model) if self.detect_anomalies else nullcontext()
        with np.errstate(all="raise" if self.detect_anomalies else "ignore", under="ignore"), watch:
            self.optimizer.zero_grad()
            smoothing = self.config.train.label_smoothing
            logits = self.model(*inputs)
            loss, dlogits = cross_entropy(logits, targets, label_smoothing=smoothing, ignore_index=ignored)
            self._check_finite("loss", loss, self.step_number + 1)
            self.model.backward(dlogits)
            try:
                norm = clip_gradients(self.model.parameters(), self.config.train.grad_clip)
            except ValueError:
                self._check_finite("gradient norm", math.nan, self.step_number + 1)
                raise
            self.optimizer.step()
        self.tokens += targets.size if ignored is None else int((targets != ignored).sum())
        return {"loss": loss, "grad_norm": norm}

    def _check_finite(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            kept = (
                "No checkpoint was saved"
                if self.saved_step is None
                else (f"The checkpoint of step {self.saved_step} is kept")
            )
            became = "NaN" if math.isnan(value) else "infinite"
            raise DivergenceError(
                f"{what} became {became} at step {step}. {kept}. Lower the learning rate; "
                "--detect-anomaly finds the layer"
            )

    def evaluate(self) -> dict[str, float]:
        """Return `val_loss` and, for a task, `exact_match` on the held-out data. The mode is left as it was."""
        with np.errstate(all="ignore"):
            return evaluate(self.model, self.source)

    def fit(
        self,
        folder: Path,
        *,
        overwrite: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[Metrics], None] = lambda metrics: None,
    ) -> Metrics:
        """Train to the last step; return the last line of metrics, or {} if there was no step left.

        folder: receives the run; a folder that holds a run is refused, unless it was loaded or `overwrite` is set.
        should_stop: asked between two steps; True saves a checkpoint and ends. on_step: gets every line of metrics.
        Times are of training alone, without evaluations.
        """
        folder, train = Path(folder), self.config.train
        resumed = self._folder is not None and self._folder.resolve() == folder.resolve()
        claim_run_folder(folder, resume=resumed, overwrite=overwrite)
        writer = MetricsWriter(folder / METRICS, extra=("exact_match",))
        if resumed:
            write_json(folder / CONFIG, self.config.to_json())
            writer.truncate(self.step_number)
        else:
            clear_run_folder(folder, also=[CROSS_ATTENTION])
            write_text(folder / METRICS, "")
            checkpoint.write_config(folder, self.config, self.source.tokenizer)
        checkpoint_every = train.checkpoint_every or train.eval_every
        metrics: Metrics = {}
        self.clock = Clock(**self._loaded_times)
        while self.step_number < train.steps and not should_stop():
            measured = self.step()
            times, step = self.clock.read(), self.step_number
            last = step == train.steps
            if last or step % train.eval_every == 0:
                measured |= self.evaluate()
                self._check_finite("validation loss", measured["val_loss"], step)
                self.clock = Clock(**times)
            speed = round(self.tokens / times["wall_seconds"]) if times["wall_seconds"] else None
            progress = {"step": step, "tokens": self.tokens, "lr": self.optimizer.lr, "tokens_per_second": speed}
            metrics = writer.write(**progress, **measured, **times)
            if last or step % checkpoint_every == 0:
                self.save(folder)
            on_step(metrics)
        if self.saved_step != self.step_number:
            self.save(folder)
        return metrics

    # --------------------------------------------------------------------------------------- checkpoints

    def save(self, folder: Path) -> None:
        """Write training_state.safetensors, which holds the weights as well, then model.safetensors.

        Raises: DivergenceError, with nothing written, if a weight is NaN or infinite.
        """
        weights = self.model.parameters().data
        if not np.isfinite(weights).all():
            self._check_finite("a weight", math.nan, self.step_number)
        run_id = self.config.run_id(self.source.tokenizer)
        state = {
            "step": self.step_number,
            "tokens": self.tokens,
            "data_rng": checkpoint.rng_state(self.rng),
            "model_rng": checkpoint.rng_state(self.model.rng),
            **self.clock.read(),
        }
        checkpoint.save_state(folder, run_id, {**self.optimizer.state_dict(), "weights": weights}, state)
        checkpoint.save_weights(folder, run_id, self.step_number, self.model.state_dict())
        self.saved_step = self.step_number

    def load(self, folder: Path) -> None:
        """Continue from the checkpoint that `save` wrote: same batches, same losses.

        Raises: ValueError that names the setting that differs, or the file that is missing, damaged or of another run.
        """
        folder = Path(folder)
        saved = checkpoint.read_config(folder)
        check_same_settings(
            read_json_object(folder / CONFIG), self.config.to_json(), folder, ignore=(*NOT_COMPARED, "steps")
        )
        if saved.train.steps > self.config.train.steps:
            raise ValueError(f"`steps` must be {saved.train.steps} to resume {folder}, got {self.config.train.steps}")
        checkpoint.read_tokenizer(folder, saved)
        path = folder / TRAINING_STATE
        arrays, found = checkpoint.read_checkpoint(path, self.config.run_id(self.source.tokenizer))
        if (folder / WEIGHTS).is_file():  # not needed, but of this run or a sign that files were mixed
            checkpoint.read_checkpoint(folder / WEIGHTS, self.config.run_id(self.source.tokenizer))
        weights = arrays.pop("weights", np.empty(0))
        if weights.shape != self.model.parameters().data.shape or not np.isfinite(weights).all():
            raise ValueError(f"{path}: not a training state of this run (its weights do not fit)")
        try:
            state = json.loads(found["state"])
            self.optimizer.load_state_dict(arrays)
            checkpoint.set_rng_state(self.rng, state["data_rng"])
            checkpoint.set_rng_state(self.model.rng, state["model_rng"])
            self.tokens = int(state["tokens"])
            self._loaded_times = {name: float(state[name]) for name in self._loaded_times}
            self.clock = Clock(**self._loaded_times)
            if int(state["step"]) != self.optimizer.t:
                raise ValueError("its steps differ")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: not a training state of this run ({error})") from None
        self.model.parameters().data = weights
        self.saved_step, self._folder = self.step_number, folder


def resumed_config(folder: Path, train: TrainConfig, extend: int | None) -> TrainConfig:
    """Return the training configuration with which a saved run continues.

    extend: steps to add to a finished run. An extension that was interrupted is continued, not extended again.
    Raises: ValueError if the number of steps differs, or if an unfinished run is to be extended.
    """
    saved = checkpoint.read_config(folder).train
    if extend is None:
        if saved.steps != train.steps:
            raise ValueError(f"`steps` must be {saved.steps} to resume {folder}, got {train.steps}")
        return train
    check_integer("extend", extend, 1)
    done = checkpoint.saved_step(folder)
    if done >= saved.steps:
        return replace(train, steps=saved.steps + extend)
    if saved.steps <= train.steps:
        raise ValueError(
            f"`extend` must be used on a finished run, got one at step {done} of {saved.steps}. "
            "Resume it without --extend first"
        )
    return replace(train, steps=saved.steps)
