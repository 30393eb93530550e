"""Training: one loop for pre-training and fine-tuning, that can be killed at any moment and resumed exactly.

Under torchrun the same loop runs in every process (gpt2.parallel); process 0 writes and reports.

A run is a folder:
    config.json, model.safetensors   the model, as `GPT2.from_pretrained` and transformers load it
    train.json                       how it was trained
    metrics.jsonl                    one line per logged step: loss, rate, tokens/s, TFLOP/s, share of the peak
    training.safetensors             everything a resumed run needs: weights, optimizer, step;
                                     of several processes a folder training-STEP (gpt2.checkpoint)
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt2 import parallel
from gpt2.checkpoint import load_training, save_training
from gpt2.data import IGNORE, Batches
from gpt2.devices import autocast, matmul_peak, resolve_dtype
from gpt2.model import GPT2
from gpt2.optim import flops_per_token, learning_rate, make_optimizers
from gpt2.pretrained import State, save, write_atomically, write_json
from gpt2.settings import TrainConfig
from gpt2.sharding import whole


class TrainingDiverged(ValueError):
    """The loss is no number any more; the last checkpoint was kept."""


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    best: float = math.inf
    since_best: int = 0


class Trainer:
    """Trains a model on batches and keeps its run folder up to date."""

    def __init__(
        self,
        model: GPT2,
        data: Batches,
        config: TrainConfig,
        folder: str | Path,
        *,
        on_log: Callable[[dict[str, Any]], None] | None = None,
        on_step: Callable[[int], object] | None = None,
        save_model: Callable[[Path, State], None] | None = None,
    ) -> None:
        self.model, self.data, self.config, self.folder = model, data, config, Path(folder)
        self.on_log = on_log or (lambda _: None)
        self.on_step = on_step or (lambda _: None)
        self.save_model = save_model or (lambda path, state: save(model, path, state=state))
        self.device = model.wte.weight.device
        self.dtype = resolve_dtype(config.dtype, self.device)
        model.gradient_checkpointing = config.checkpoint_blocks
        self.spread = parallel.Spread(model, config.parallel, self.dtype)
        self.optimizers = make_optimizers(model, config.optim, self.dtype)  # of the parts, where FSDP made them
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.loss = torch.compile(self.spread.loss) if config.compile else self.spread.loss
        self.progress = Progress()

    def run(self, resume: bool = False, stop_after: int | None = None) -> dict[str, Any]:
        """Train to the last step; returns the last log entry. Ctrl-C saves and returns.

        With `resume`, go on from the folder's checkpoint: the same losses as a run that never stopped.
        `stop_after` ends before that step, with a checkpoint, for a run that is done in parts.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume:
            found = load_training(self.folder, self.model, self.optimizers, self.config, self.scaler)
            self.progress = Progress(**found)
        if parallel.rank() == 0:
            self._truncate_log()
            write_json(self.folder / "train.json", asdict(self.config))
        entry: dict[str, Any] = {}
        end = min(self.config.steps, stop_after or self.config.steps)
        with interrupts_wait() as interrupted:
            for entry in self._steps(end, interrupted):
                self._log(entry)
        return entry

    def _steps(self, end: int, interrupted: threading.Event) -> Iterator[dict[str, Any]]:
        config, progress = self.config, self.progress
        began, tokens_done = time.perf_counter(), 0
        flops = flops_per_token(self.model, self.model.config.context_length)
        peak = matmul_peak(self.device, self.dtype) * parallel.world_size() if config.mfu else None
        while progress.step < end:
            step = progress.step
            ids, targets = self.data.batch(step, config.batch_size)
            # dropout of a step is a function of seed, step and process: a resumed run repeats it
            torch.manual_seed(int(np.random.SeedSequence([config.seed, step, parallel.rank()]).generate_state(1)[0]))
            lr = learning_rate(config.optim, step, config.steps)
            loss, norm = self.step(ids, targets, lr)
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"step {step}: the loss is {loss}; {self.folder} keeps the last checkpoint. A lower --lr may help"
                )
            progress.step += 1
            self.on_step(progress.step)
            tokens_done += ids.numel()
            evaluate = progress.step % config.eval_every == 0 or progress.step == config.steps
            if evaluate or progress.step % config.log_every == 0 or progress.step == end:
                seconds = time.perf_counter() - began
                entry = {
                    "step": progress.step,
                    "tokens": progress.step * ids.numel(),
                    "loss": loss,
                    "lr": lr,
                    "grad_norm": norm,
                    "seconds": round(seconds, 3),
                    "tokens_per_second": round(tokens_done / seconds, 1),
                    "tflops": float(f"{tokens_done * flops / seconds / 1e12:.4g}"),
                }
                if peak is not None:
                    entry["mfu"] = float(f"{tokens_done * flops / seconds / peak:.4g}")
                if evaluate:
                    with self.autocast():
                        entry["val_loss"] = validate(self.model, self.data, config.batch_size)
                    if self._stop_early(entry["val_loss"]):
                        yield entry
                        return
                yield entry  # logged before the checkpoint: a resumed run forgets what is logged beyond it
            stop = parallel.total(float(interrupted.is_set()), self.device) > 0
            if evaluate or progress.step == end or stop:
                self.checkpoint()
            if stop:
                return

    def step(self, ids: Tensor, targets: Tensor, lr: float) -> tuple[float, float]:
        """One update from one batch, in micro-batches; returns its mean loss and the gradient's norm.

        Each micro-batch contributes its sum divided by the targets of the whole batch, so the gradient is that
        of the whole batch, also when targets are ignored unevenly. So does each process.
        """
        self.model.train()
        count = int((targets != IGNORE).sum())
        ids, targets = parallel.share((ids, targets))
        size = self.config.micro_batch or len(ids)
        total = torch.zeros((), dtype=self.model.wte.weight.dtype, device=self.device)
        for i in range(0, len(ids), size):
            with self.spread.last(i + size >= len(ids)):
                with self.autocast():
                    part = ids[i : i + size].to(self.device), targets[i : i + size].to(self.device)
                    loss = self.loss(*part, reduction="sum") / count
                # times the processes, because the gradient becomes the mean over them
                self.scaler.scale(loss * parallel.world_size()).backward()
            total += loss.detach()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
            for group in optimizer.param_groups:
                group["lr"] = lr
        clip = self.config.optim.clip or math.inf
        trained = [p for p in self.model.parameters() if p.requires_grad]
        norm = whole(torch.nn.utils.clip_grad_norm_(trained, clip))
        value = parallel.total(float(total), self.device)
        if math.isfinite(value):  # or the weights of the last checkpoint would be the last good ones no more
            if not self.scaler.is_enabled() or math.isfinite(norm):  # float16 overflowed: no optimizer takes this step
                for optimizer in self.optimizers:
                    self.scaler.step(optimizer)
            self.scaler.update()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        return value, float(norm)

    def checkpoint(self) -> None:
        """Write the training state and the model; each file is whole at any moment."""
        save_training(self.folder, self.model, self.optimizers, self.config, asdict(self.progress), self.scaler)
        if not self.config.patience:
            self._write_model()

    def _write_model(self) -> None:
        state = parallel.gathered(self.model)
        if parallel.rank() == 0:
            self.save_model(self.folder, state)

    def autocast(self) -> AbstractContextManager[object]:
        """Products in the run's format; FSDP has its own way to it (gpt2.parallel.shard)."""
        return autocast(self.device, torch.float32 if self.spread.sharded else self.dtype)

    def _stop_early(self, loss: float) -> bool:
        progress, patience = self.progress, self.config.patience
        if not patience:
            return False
        if loss < progress.best:
            progress.best, progress.since_best = loss, 0
            self._write_model()
        else:
            progress.since_best += 1
        return progress.since_best >= patience

    def _log(self, entry: dict[str, Any]) -> None:
        if parallel.rank() != 0:
            return
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self.on_log(entry)

    def _truncate_log(self) -> None:
        """Forget what was logged after the checkpoint (all, in a new run): those steps are done again."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= self.progress.step]
        text = "".join(line + "\n" for line in kept)
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def interrupts_wait() -> Iterator[threading.Event]:
    """Ctrl-C, or a request to end, sets the event instead of breaking off a step half way; a second one breaks off."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals are the main thread's
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@torch.no_grad()
def validate(model: GPT2, data: Batches, batch_size: int) -> float:
    """Mean loss over every prediction of the held-out part; NaN if there is none. Each process takes its share."""
    was_training, device = model.training, model.wte.weight.device
    model.eval()
    total, count = 0.0, 0
    for batch in data.validation(batch_size):
        count += int((batch[1] != IGNORE).sum())
        ids, targets = parallel.share(batch)
        total += float(model.loss(ids.to(device), targets.to(device), reduction="sum"))
    parallel.settle(model)
    model.train(was_training)
    return parallel.total(total, device) / count if count else math.nan
