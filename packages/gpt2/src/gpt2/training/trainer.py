"""The training loop for pre-training and fine-tuning. It can be killed at any moment and resumed exactly.

Under torchrun the same loop runs in every process (gpt2.training.distributed); rank 0 writes and logs.

A run is a folder:
    config.json, model.safetensors, tokenizer.json   the model, as `GPT2.from_pretrained` and transformers load it
    train_config.json                                model, training, and data settings
    metrics.jsonl                                    one line per logged step
    training_state.safetensors                       everything a resumed run needs: weights, optimizer, step;
                                                     of several processes the folder training_state-STEP
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt2._common.atomic import read_json_object, write_json
from gpt2._common.device import autocast, dtype_name, pick_dtype
from gpt2._common.errors import DivergenceError, invalid
from gpt2._common.interrupt import defer_sigint
from gpt2._common.metrics import Clock, MetricsWriter
from gpt2._common.run_folder import METRICS, clear_run_folder
from gpt2.config import TrainConfig
from gpt2.data import tokenizers
from gpt2.data.token_file import IGNORE, Batches
from gpt2.model import GPT2
from gpt2.pretrained.weights import State, save, write_config, write_model_card
from gpt2.training import distributed
from gpt2.training.checkpoint import load_training, save_training
from gpt2.training.optim import learning_rate, make_optimizers
from gpt2.training.run import ALSO, TRAIN_CONFIG, RunStart, compare_settings, run_settings, start_run
from gpt2.training.throughput import flops_per_token, matmul_peak

EXTRA_METRICS = ("tflops", "mfu")
SaveModel = Callable[[Path, State], None]


@dataclass
class TrainingProgress:
    """How far a run is."""

    step: int = 0
    tokens: int = 0
    best_loss: float | None = None
    best_step: int = 0
    evaluations_since_best: int = 0
    stopped_early: bool = False
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


class Trainer:
    """Trains a model on batches and keeps its run folder up to date.

    tokenizer: written to the folder, so that the model can be used as text. settings: further settings that a resumed
    run must have in common, such as the rank of LoRA. on_log gets each line of metrics.jsonl, on_step each step,
    say messages. save_model: writes the model, if it is not to be written as it is.
    """

    def __init__(
        self,
        model: GPT2,
        data: Batches,
        config: TrainConfig,
        folder: str | Path,
        *,
        tokenizer: tokenizers.Tokenizer | None = None,
        settings: Mapping[str, Any] | None = None,
        on_log: Callable[[dict[str, Any]], None] | None = None,
        on_step: Callable[[int], object] | None = None,
        save_model: SaveModel | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.model, self.data, self.folder, self.tokenizer = model, data, Path(folder), tokenizer
        self.on_log = on_log or (lambda _: None)
        self.on_step = on_step or (lambda _: None)
        self.save_model = save_model or _save_plain(model)
        self.say = say or (lambda _: None)
        self.device = model.device
        self.dtype = pick_dtype(config.dtype, self.device, self.say)
        self.config = dataclasses.replace(config, dtype=dtype_name(self.dtype))  # type: ignore[arg-type]
        self.settings = {"device": self.device.type, **(settings or {})}
        model.activation_checkpointing = config.activation_checkpointing
        self.distributed = distributed.DistributedLoss(model, config.parallel, self.dtype)
        self.optimizers = make_optimizers(model, config.optim, self.dtype)  # of the shards, where FSDP made them
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.loss = torch.compile(self.distributed.loss) if config.compile else self.distributed.loss
        self.progress = TrainingProgress()
        self.metrics = MetricsWriter(self.folder / METRICS, EXTRA_METRICS)
        self.interrupted = False
        self._saved_step: int | None = None

    def fit(
        self,
        start: RunStart | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        stop_after: int | None = None,
    ) -> dict[str, Any]:
        """Train to the last step; return the last line of the metrics, {} if there was nothing to do.

        Ctrl-C and SIGTERM save a checkpoint, set `interrupted`, and return. With `resume` the losses are those of an
        uninterrupted run. start: what `start_run` decided, instead of resume and overwrite. stop_after: end after this
        step, with a checkpoint, for a run that is done in parts.
        Raises: ValueError if the folder holds another run; DivergenceError if a loss becomes NaN or infinite.
        """
        start = start or start_run(self.folder, self.config, resume=resume, overwrite=overwrite)
        self.config = dataclasses.replace(self.config, steps=start.config.steps)
        settings = run_settings(self.model.config, self.config, self.data.settings(), start.extensions, self.settings)
        if start.resume:
            compare_settings(read_json_object(self.folder / TRAIN_CONFIG), settings, self.folder)
        if self.config.patience and next(iter(self.data.validation(1)), None) is None:
            raise invalid("patience", "be 0 without held-out data", self.config.patience)
        distributed.barrier()  # every process has read the folder before rank 0 writes
        if start.finished:
            self.load()
            return {}
        if distributed.rank() == 0:
            self._write_settings(settings, fresh=not start.resume)
        if start.resume:
            self.load()
        if distributed.rank() == 0:
            self.metrics.truncate(self.progress.step)
        self.say(f"Training on {self.device.type}, {self.config.dtype}.")
        line: dict[str, Any] = {}
        end = min(self.config.steps, stop_after or self.config.steps)
        with defer_sigint() as interrupted:
            for line in self._steps(end, interrupted):
                self._log(line)
        return line

    def _write_settings(self, settings: Mapping[str, Any], fresh: bool) -> None:
        if fresh:
            clear_run_folder(self.folder, ALSO)
        write_json(self.folder / TRAIN_CONFIG, settings)  # first: it marks the folder as that of a run
        write_config(self.model.config, self.folder)
        write_model_card(self.folder, self.model.config, has_tokenizer=self.tokenizer is not None)
        if self.tokenizer is not None:
            tokenizers.save(self.tokenizer, self.folder)

    def _steps(self, end: int, interrupted: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        config, progress = self.config, self.progress
        clock = Clock(progress.wall_seconds, progress.cpu_seconds)
        wall_before, tokens_before = progress.wall_seconds, progress.tokens
        flops = flops_per_token(self.model, self.model.config.context_length)
        peak = matmul_peak(self.device, self.dtype) * distributed.world_size() if config.report_mfu else None
        checkpoint_every = config.checkpoint_every or config.eval_every
        while progress.step < end:
            step = progress.step
            ids, targets = self.data.batch(step, config.batch_size)
            # dropout depends on seed, step, and rank alone: a resumed run repeats it
            words = [config.seed, step, distributed.rank()]
            torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
            lr = learning_rate(config.optim, step, config.steps)
            loss, norm = self.step(ids, targets, lr)
            self._check_finite("loss", loss, step + 1)
            if not self.scaler.is_enabled():
                self._check_finite("gradient norm", norm, step + 1)
            progress.step += 1
            progress.tokens += ids.numel()
            self.on_step(progress.step)
            last, improved = progress.step == end, False
            evaluate = progress.step % config.eval_every == 0 or progress.step == config.steps
            if evaluate or last or progress.step % config.log_every == 0:
                vars(progress).update(clock.read())
                seconds = max(1e-9, progress.wall_seconds - wall_before)
                rate = (progress.tokens - tokens_before) / seconds
                line = {
                    "step": progress.step,
                    "tokens": progress.tokens,
                    "loss": loss,
                    "lr": lr,
                    "grad_norm": norm if math.isfinite(norm) else None,  # float16 overflowed: the step was skipped
                    **clock.read(),
                    "tokens_per_second": round(rate, 1),
                    "tflops": None if peak is None else float(f"{rate * flops / 1e12:.4g}"),
                    "mfu": None if peak is None else float(f"{rate * flops / peak:.4g}"),
                }
                if evaluate and (val_loss := self.evaluate()) is not None:
                    self._check_finite("validation loss", val_loss, progress.step)
                    line["val_loss"] = val_loss
                    improved = self._note_evaluation(val_loss)
                yield line  # logged before the checkpoint: a resumed run drops the lines beyond it
            stop = distributed.all_reduce_sum(float(interrupted()), self.device) > 0
            if improved or last or stop or progress.stopped_early or progress.step % checkpoint_every == 0:
                vars(progress).update(clock.read())
                self.save()
            if stop or progress.stopped_early:
                self.interrupted = stop and progress.step < config.steps and not progress.stopped_early
                return

    def step(self, ids: Tensor, targets: Tensor, lr: float) -> tuple[float, float]:
        """Take one optimizer step on one batch, in micro-batches; return its mean loss and the gradient norm.

        Each micro-batch contributes its sum divided by the targets of the whole batch, so the gradient is that of the
        whole batch, also when the ignored targets are spread unevenly. The same holds for each process.
        Weights stay as they are if the loss or the gradient is not finite.
        """
        self.model.train()
        count = max(1, int((targets != IGNORE).sum()))
        ids, targets = distributed.local_rows((ids, targets))
        size = self.config.micro_batch or len(ids)
        total = torch.zeros((), dtype=self.model.wte.weight.dtype, device=self.device)
        for i in range(0, len(ids), size):
            with self.distributed.gradient_sync(i + size >= len(ids)):
                with self.autocast():
                    part = ids[i : i + size].to(self.device), targets[i : i + size].to(self.device)
                    loss = self.loss(*part, reduction="sum") / count
                # times the number of processes, because the gradient becomes their mean
                self.scaler.scale(loss * distributed.world_size()).backward()
            total += loss.detach()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
            for group in optimizer.param_groups:
                group["lr"] = lr
        threshold = self.config.optim.grad_clip or math.inf
        trained = [p for p in self.model.parameters() if p.requires_grad]
        norm = float(distributed.full_tensor(torch.nn.utils.clip_grad_norm_(trained, threshold)))
        value = distributed.all_reduce_sum(float(total), self.device)
        if math.isfinite(value):
            if math.isfinite(norm):
                for optimizer in self.optimizers:
                    self.scaler.step(optimizer)
            self.scaler.update()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        return value, norm

    def evaluate(self) -> float | None:
        """Return the mean loss of the held-out data, or None if there is none."""
        with self.autocast():
            return held_out_loss(self.model, self.data, self.config.batch_size)

    def save(self) -> None:
        """Write the training state, and then the model if it is the one to keep.

        The state holds the weights too, so a run that is killed between the two writes loses nothing.
        Raises: DivergenceError if a weight is NaN or infinite.
        """
        bad = sum(not bool(getattr(p, "to_local", lambda p=p: p)().isfinite().all()) for p in self.model.parameters())
        self._check_finite("weights", math.nan if distributed.all_reduce_sum(float(bad), self.device) else 0.0)
        if distributed.rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
        save_training(self.folder, self.model, self.optimizers, asdict(self.progress), self.scaler)
        self._saved_step = self.progress.step
        if not self.config.patience or self.progress.best_step == self.progress.step:
            self._write_model()

    def load(self) -> None:
        """Restore the checkpoint of the folder, and write the model, in case the run was killed before it did so."""
        self.progress = TrainingProgress(**load_training(self.folder, self.model, self.optimizers, self.scaler))
        self._saved_step = self.progress.step
        if not self.config.patience or self.progress.best_step == self.progress.step:
            self._write_model()

    def _write_model(self) -> None:
        state = distributed.gathered_weights(self.model)
        if distributed.rank() == 0:
            self.save_model(self.folder, state)

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context for matmuls in the run's dtype; FSDP casts by itself (gpt2.training.distributed.shard)."""
        return autocast(self.device, torch.float32 if self.distributed.sharded else self.dtype)

    def _note_evaluation(self, loss: float) -> bool:
        """Update early stopping; return whether this is the model to keep."""
        progress, patience = self.progress, self.config.patience
        if not patience:
            return False
        if improved := progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step, progress.evaluations_since_best = loss, progress.step, 0
        else:
            progress.evaluations_since_best += 1
        progress.stopped_early = progress.evaluations_since_best >= patience
        return improved

    def _check_finite(self, what: str, value: float, step: int | None = None) -> None:
        if math.isfinite(value):
            return
        kept = (
            "No checkpoint was written"
            if self._saved_step is None
            else f"The checkpoint of step {self._saved_step} is kept"
        )
        became = "NaN" if math.isnan(value) else "infinite"
        at = self.progress.step if step is None else step
        raise DivergenceError(f"{what} became {became} at step {at}. {kept}. Lower the learning rate")

    def _log(self, line: dict[str, Any]) -> None:
        if distributed.rank() == 0:
            self.on_log(self.metrics.write(**line))


def _save_plain(model: GPT2) -> SaveModel:
    return lambda folder, state: save(model, folder, state=state)


@torch.no_grad()
def held_out_loss(model: GPT2, data: Batches, batch_size: int) -> float | None:
    """Return the mean loss of all predictions of the held-out data, or None if there is none."""
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for batch in data.validation(batch_size):
        count += int((batch[1] != IGNORE).sum())
        ids, targets = distributed.local_rows(batch)
        total += float(model.loss(ids.to(model.device), targets.to(model.device), reduction="sum"))
    distributed.reshard(model)
    model.train(was_training)
    return distributed.all_reduce_sum(total, model.device) / count if count else None
