"""The training loop (section 5): one optimizer step may cover several batches and processes."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from transformer_torch._common.device import autocast, dtype_name, pick_device, pick_dtype
from transformer_torch._common.errors import DivergenceError
from transformer_torch._common.metrics import Clock, MetricsWriter
from transformer_torch._common.run_folder import METRICS
from transformer_torch.config import TrainConfig
from transformer_torch.data.batching import Pair, pad, token_batches
from transformer_torch.loss import LabelSmoothing
from transformer_torch.model import Transformer
from transformer_torch.training import checkpoint
from transformer_torch.training.averaging import RunningMean
from transformer_torch.training.checkpoint import Progress
from transformer_torch.training.distributed import rank_and_world, sum_over_ranks
from transformer_torch.training.fused_loss import projected_loss
from transformer_torch.training.optim import make_optimizers, make_schedule

Metrics = dict[str, int | float]
EXTRA_METRICS = ("smoothed_loss",)  # the label-smoothed loss that training minimizes; `loss` is the cross-entropy


class SummedLoss(nn.Module):
    """Model and loss in one module: summed over all target tokens, the smoothed loss and the cross-entropy."""

    def __init__(self, model: Transformer, smoothing: LabelSmoothing) -> None:
        super().__init__()
        self.model, self.smoothing = model, smoothing

    def forward(self, src: Tensor, tgt: Tensor) -> tuple[Tensor, Tensor]:
        """Return both sums. src: (batch, source); tgt: (batch, target), with begin and end."""
        memory, mask = self.model.encode(src)
        x, y = self.model.decode(tgt[:, :-1], memory, mask), tgt[:, 1:]
        counted = y != self.model.config.pad_id  # padding is not even projected to the vocabulary
        x, y = x[counted], y[counted]
        if not x.is_cuda:
            return projected_loss(x, self.model.embedding.weight, y, self.smoothing)
        logits = self.model.project(x)
        cross_entropy = nn.functional.cross_entropy(logits.detach().float(), y, reduction="sum")
        return self.smoothing(logits, y), cross_entropy


class Trainer:
    """Trains a model on pairs of ids.

    With torch.distributed initialized, each process takes its share of the rows of every batch, and gradients are
    summed: the losses are those of one process. out: the run folder; None: nothing is written. resample: returns the
    pairs of an epoch by its number, if they change (BPE-dropout).
    """

    def __init__(
        self,
        model: Transformer,
        config: TrainConfig,
        pairs: Sequence[Pair],
        valid: Sequence[Pair] = (),
        out: Path | None = None,
        resample: Callable[[int], Sequence[Pair]] | None = None,
    ) -> None:
        if not pairs:
            raise ValueError("`pairs` must hold at least one pair, got none")
        self.pairs, self.valid, self.out, self.resample = pairs, valid, out, resample
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.dtype, self.device)
        self.config = replace(config, device=str(self.device), dtype=dtype_name(self.dtype))  # type: ignore[arg-type]
        self.model = model.to(self.device)
        self.rank, self.world = rank_and_world()
        if self.rank:
            torch.manual_seed(config.seed + self.rank)  # or all processes would drop the same elements
        self.optimizers = make_optimizers(self.model, config, self.dtype)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.schedule = make_schedule(config, model.config.d_model)
        smoothing = LabelSmoothing(config.label_smoothing, config.smoothing_mode, model.config.pad_id, "sum")
        self.loss = SummedLoss(model, smoothing)
        self.parallel: nn.Module = self.loss if self.world == 1 else nn.parallel.DistributedDataParallel(self.loss)
        self.progress = Progress()
        self.snapshots = RunningMean()
        self.best_weights: dict[str, Tensor] | None = None
        self.saved_step: int | None = None  # of the last checkpoint
        self.interrupted = False

    # ------------------------------------------------------------------------------------ batches

    def batches(self) -> Iterator[list[int]]:
        """Yield batches of indices without end, from where the run is. Seed and epoch determine the order."""
        while True:
            if self.resample is not None:
                self.pairs = self.resample(self.progress.epoch)
            rng = random.Random(f"{self.config.seed} {self.progress.epoch}")
            batches = token_batches(self.pairs, self.config.batch_tokens, rng)
            for batch in batches[self.progress.used :]:
                self.progress.used += 1
                yield batch
            self.progress.epoch, self.progress.used = self.progress.epoch + 1, 0

    def tensors(self, batch: Sequence[int], pairs: Sequence[Pair] | None = None) -> tuple[Tensor, Tensor]:
        """Return source and target of some pairs, padded, on the device."""
        chosen = [(self.pairs if pairs is None else pairs)[i] for i in batch]
        pad_id = self.model.config.pad_id
        src, tgt = (pad([pair[side] for pair in chosen], pad_id).to(self.device) for side in (0, 1))
        return src, tgt

    # ------------------------------------------------------------------------------------ one step

    def step(self, batches: Sequence[Sequence[int]]) -> Metrics:
        """Take one optimizer step along the gradient of the mean loss over all tokens of these batches.

        Each batch is weighted by its tokens, so several small ones give the gradient of one large batch.
        Raises: DivergenceError if the loss is NaN or infinite; the weights are then unchanged.
        """
        self.model.train()
        progress = self.progress
        lr = self.schedule(progress.step + 1)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        n_targets = sum(len(self.pairs[i][1]) - 1 for batch in batches for i in batch)
        totals = torch.zeros(2, device=self.device)
        for number, batch in enumerate(batches):
            share = batch[self.rank :: self.world]
            # every process takes part in each exchange: one without a row computes a row whose loss is not counted
            src, tgt = self.tensors(share or batch[:1])
            if isinstance(self.parallel, nn.parallel.DistributedDataParallel):
                self.parallel.require_backward_grad_sync = number == len(batches) - 1
            with autocast(self.device, self.dtype):
                loss, cross_entropy = self.parallel(src, tgt)
            if not share:
                loss, cross_entropy = loss * 0.0, cross_entropy * 0.0
            # DistributedDataParallel takes the mean over processes; the sum is needed
            self.scaler.scale(loss * (self.world / n_targets)).backward()
            totals += torch.stack([loss.detach(), cross_entropy])
        smoothed, plain = (sum_over_ranks(totals) / n_targets).tolist()
        self._check_finite("loss", smoothed, progress.step + 1)
        norm = self._apply_gradients()
        progress.step += 1
        progress.tokens += n_targets + sum(len(self.pairs[i][0]) for batch in batches for i in batch)
        metrics: Metrics = {"loss": plain, "smoothed_loss": smoothed, "lr": lr}
        return metrics if norm is None else metrics | {"grad_norm": norm}

    def _apply_gradients(self) -> float | None:
        """Clip and take the step; return the gradient norm where it was computed and is finite."""
        norm = None
        if self.config.grad_clip or self.scaler.is_enabled():
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip or math.inf))
            if not self.scaler.is_enabled():
                self._check_finite("gradient norm", norm, self.progress.step + 1)
        if norm is None or math.isfinite(norm):  # all optimizers step, or none where float16 overflowed
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
        self.scaler.update()
        self.model.zero_grad(set_to_none=True)
        return norm if norm is not None and math.isfinite(norm) else None

    def _check_finite(self, what: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        kept = "No checkpoint was written"
        if self.saved_step is not None:
            kept = f"The checkpoint of step {self.saved_step:,} is kept"
        shown = "NaN" if math.isnan(value) else "infinite"
        raise DivergenceError(f"{what} became {shown} at step {step:,}. {kept}. Lower the learning rate (--lr-scale)")

    @torch.no_grad()
    def evaluate(self) -> float:
        """Return the mean cross-entropy of a validation token, without smoothing; its exponential is the perplexity."""
        if not self.valid:
            raise ValueError("`valid` must hold at least one pair, got none")
        self.model.eval()
        totals = torch.zeros(2, device=self.device, dtype=torch.float64 if self.device.type == "cpu" else None)
        batches = token_batches(self.valid, 4 * self.config.batch_tokens, random.Random(0))
        for batch in batches[self.rank :: self.world]:
            with autocast(self.device, self.dtype):
                totals[0] += self.loss(*self.tensors(batch, self.valid))[1]
            totals[1] += sum(len(self.valid[i][1]) - 1 for i in batch)
        total, n = sum_over_ranks(totals).tolist()
        loss: float = total / n
        return loss

    # ------------------------------------------------------------------------------------ a run

    @property
    def finished(self) -> bool:
        """Whether the last step is done, or early stopping has ended the run."""
        config, progress = self.config, self.progress
        return progress.step >= config.steps or bool(config.patience and progress.worse >= config.patience)

    def fit(
        self,
        report: Callable[[Metrics], None] = lambda metrics: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Transformer:
        """Train until the run is finished or `stopping` returns True between two steps; return the final model.

        report: called after each step with its metrics (step, tokens, loss, smoothed_loss, lr, …; val_loss where it
        was evaluated). An interrupted run is saved, and `interrupted` is then True.
        """
        config, progress = self.config, self.progress
        clock = Clock(progress.wall_seconds, progress.cpu_seconds)
        writer = MetricsWriter(self.out / METRICS, EXTRA_METRICS) if self.out is not None and not self.rank else None
        checkpoint_every = config.checkpoint_every or config.eval_every
        stream = self.batches()
        self.interrupted = False
        while not self.finished:
            self.interrupted = self._any(stopping())
            if self.interrupted:
                break
            start, tokens = time.perf_counter(), progress.tokens
            metrics = self.step([next(stream) for _ in range(config.accumulate)])
            speed = (progress.tokens - tokens) / (time.perf_counter() - start)
            left = config.steps - progress.step
            if config.average > 1 and left % config.average_every == 0 and left < config.average * config.average_every:
                self.snapshots.add(self.model.state_dict())
            last = progress.step == config.steps
            if self.valid and (progress.step % config.eval_every == 0 or last):
                metrics["val_loss"] = self.evaluate()
                self._check_finite("validation loss", metrics["val_loss"], progress.step)
                self._note_best(metrics["val_loss"])
            times = clock.read()
            progress.wall_seconds, progress.cpu_seconds = times["wall_seconds"], times["cpu_seconds"]
            metrics = {"step": progress.step, "tokens": progress.tokens, **metrics, **times}
            metrics["tokens_per_second"] = round(speed, 1)
            if writer is not None:
                metrics = writer.write(**metrics)
            if progress.step % checkpoint_every == 0 or self.finished:
                self.save()
            report(metrics)
        if self.interrupted and progress.step:
            self.save()
        elif not self.interrupted:
            self.model.load_state_dict(self.final_model())
        return self.model.eval()

    def _any(self, stop: bool) -> bool:
        """Whether any process was told to stop: then all do, or the others would wait for it."""
        return stop if self.world == 1 else bool(sum_over_ranks(torch.tensor(float(stop), device=self.device)) > 0)

    def _note_best(self, loss: float) -> None:
        """Keep the best weights for early stopping."""
        if self.progress.best is None or loss < self.progress.best:
            self.progress.best, self.progress.worse = loss, 0
            self.best_weights = self.weights() if self.config.patience else None
        else:
            self.progress.worse += 1

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights."""
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def final_model(self) -> dict[str, Tensor]:
        """Return the weights to use: the mean of the snapshots, or the best by validation loss, or the last."""
        if self.snapshots.count:
            return self.snapshots.mean(self.model.embedding.weight.dtype)
        return self.best_weights if self.best_weights is not None else self.weights()

    def extend(self, steps: int) -> None:
        """Continue a finished run for more steps: the schedule is from now on that of the longer run."""
        self.config = replace(self.config, steps=self.progress.step + steps)
        self.schedule = make_schedule(self.config, self.model.config.d_model)
        self.snapshots, self.progress.worse = RunningMean(), 0

    def save(self) -> None:
        """Write a checkpoint: training_state.safetensors, then model.safetensors with the weights to use."""
        checkpoint.save(self)

    def load(self) -> None:
        """Continue from the checkpoint in the folder: same batches, same dropout, same losses."""
        checkpoint.load(self)
