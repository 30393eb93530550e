"""Training: section 5. An `update` is a step of the optimizer, over several batches and processes if need be."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from transformer_torch.average import mean_of
from transformer_torch.batching import Pair, pad, token_batches
from transformer_torch.config import TrainConfig
from transformer_torch.device import choose_device, choose_dtype
from transformer_torch.files import read_tensors, write_tensors
from transformer_torch.fused_loss import projected_loss
from transformer_torch.loss import LabelSmoothing
from transformer_torch.model import Transformer
from transformer_torch.optimizers import make_optimizers
from transformer_torch.schedule import NoamSchedule

Metrics = dict[str, int | float]


class SummedLoss(nn.Module):
    """Model and loss in one module: the sum of the smoothed losses of all target tokens."""

    def __init__(self, model: Transformer, smoothing: LabelSmoothing) -> None:
        super().__init__()
        self.model, self.smoothing = model, smoothing

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """src (batch, source), tgt (batch, target) with begin and end."""
        memory, mask = self.model.encode(src)
        x, y = self.model.decode(tgt[:, :-1], memory, mask), tgt[:, 1:]
        counted = y != self.model.config.pad_id  # padding is not even projected to the vocabulary
        if x.is_cuda:
            out: Tensor = self.smoothing(self.model.project(x[counted]), y[counted])
            return out
        return projected_loss(x[counted], self.model.embedding.weight, y[counted], self.smoothing)


@dataclass
class Progress:
    """Where a run stands; everything that a resumed run must know beside tensors."""

    step: int = 0
    epoch: int = 0
    used: int = 0
    """Batches of this epoch that were used."""
    tokens: int = 0
    """Tokens of source and target so far, padding aside."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the training itself, validation aside; of this process."""
    best: float = math.inf
    """Lowest validation loss."""
    worse: int = 0
    """Validations since then."""


class Trainer:
    """Trains a model on pairs of ids.

    With torch.distributed initialized, each process takes its share of the rows of every batch, and gradients are
    summed: the losses are those of one process.
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
        """resample: the pairs of an epoch by its number, if they change (BPE-dropout)."""
        if not pairs:
            raise ValueError("pairs: nothing to train on")
        self.config, self.pairs, self.valid, self.out, self.resample = config, pairs, valid, out, resample
        self.device = choose_device(config.device)
        self.dtype = choose_dtype(config.dtype, self.device)
        self.model = model.to(self.device)
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.optimizers = make_optimizers(self.model, config, self.dtype)  # the rate is set before each update
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.schedule = NoamSchedule(
            model.config.d_model, config.warmup, config.factor, config.steps, config.decay, config.hold
        )
        smoothing = LabelSmoothing(config.smoothing, config.smoothing_mode, model.config.pad_id, "sum")
        self.loss = SummedLoss(model, smoothing)
        self.parallel: nn.Module = self.loss
        if self.world > 1:
            self.parallel = nn.parallel.DistributedDataParallel(self.loss)
        self.progress = Progress()
        self.snapshots: list[dict[str, Tensor]] = []
        self.best_weights: dict[str, Tensor] | None = None
        self.stop = False  # set from outside, it ends the run after the present update

    # ------------------------------------------------------------------------------------ batches

    def batches(self) -> Iterator[list[int]]:
        """Batches without end, from where the run stands. The order of an epoch follows from seed and epoch alone."""
        while True:
            if self.resample is not None:
                self.pairs = self.resample(self.progress.epoch)
            rng = random.Random(f"{self.config.seed} {self.progress.epoch}")
            batches = token_batches(self.pairs, self.config.max_tokens, rng)
            for batch in batches[self.progress.used :]:
                self.progress.used += 1
                yield batch
            self.progress.epoch, self.progress.used = self.progress.epoch + 1, 0

    def tensors(self, batch: Sequence[int], pairs: Sequence[Pair] | None = None) -> tuple[Tensor, Tensor]:
        """Source and target of some pairs, padded, on the device."""
        chosen = [(self.pairs if pairs is None else pairs)[i] for i in batch]
        pad_id = self.model.config.pad_id
        src, tgt = (pad([pair[side] for pair in chosen], pad_id).to(self.device) for side in (0, 1))
        return src, tgt

    # ------------------------------------------------------------------------------------ one update

    def update(self, batches: Sequence[Sequence[int]]) -> Metrics:
        """One step of the optimizer with the gradient of the mean loss over all tokens of these batches.

        Each batch is weighted by its tokens, so several small ones give the gradient of the large one that they make.
        """
        self.model.train()
        progress = self.progress
        rate = self.schedule(progress.step + 1)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        n_targets = sum(len(self.pairs[i][1]) - 1 for batch in batches for i in batch)
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches):
            # a process without a row of its own takes one that counts for nothing: all must take part in each exchange
            share = batch[self.rank :: self.world]
            src, tgt = self.tensors(share or batch[:1])
            last = number == len(batches) - 1
            if isinstance(self.parallel, nn.parallel.DistributedDataParallel):
                self.parallel.require_backward_grad_sync = last
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                loss = self.parallel(src, tgt) * bool(share)
            # DistributedDataParallel takes the mean over processes, we need the sum
            self.scaler.scale(loss * (self.world / n_targets)).backward()
            total += loss.detach()
        norm = None
        if self.config.clip or self.scaler.is_enabled():
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        if norm is None or not self.scaler.is_enabled() or bool(norm.isfinite()):
            for optimizer in self.optimizers:  # all, or none where float16 overflowed
                self.scaler.step(optimizer)
        self.scaler.update()
        self.model.zero_grad(set_to_none=True)
        if self.world > 1:
            # one process that was told to stop stops all, or the others would wait for it
            both = torch.stack([total, torch.full_like(total, float(self.stop))])
            dist.all_reduce(both)
            total, self.stop = both[0], bool(both[1] > 0)
        progress.step += 1
        progress.tokens += n_targets + sum(len(self.pairs[i][0]) for batch in batches for i in batch)
        metrics = {"loss": float(total) / n_targets, "lr": rate}
        return metrics if norm is None else metrics | {"grad_norm": float(norm)}

    @torch.no_grad()
    def validate(self) -> float:
        """Mean cross-entropy of a token of the validation set, without smoothing; its exponential is the perplexity."""
        self.model.eval()
        evaluate = SummedLoss(self.model, LabelSmoothing(0.0, pad_id=self.model.config.pad_id, reduction="sum"))
        total, n = 0.0, 0
        for batch in token_batches(self.valid, 4 * self.config.max_tokens, random.Random(0)):
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                total += float(evaluate(*self.tensors(batch, self.valid)))
            n += sum(len(self.valid[i][1]) - 1 for i in batch)
        return total / n

    # ------------------------------------------------------------------------------------ a run

    def run(self, report: Callable[[Metrics], None] = lambda metrics: None) -> Transformer:
        """Train from where the run stands to the last step, early stop or `stop`; returns the model that counts.

        report: called after each update with step, tokens, loss, lr, seconds, tokens_per_second, and val_loss where
        there is one.
        """
        config, progress = self.config, self.progress
        stream = self.batches()
        while progress.step < config.steps and not self.stop:
            wall, cpu, tokens = time.perf_counter(), time.process_time(), progress.tokens
            metrics = self.update([next(stream) for _ in range(config.accumulate)])
            wall = time.perf_counter() - wall
            progress.seconds += wall
            progress.cpu_seconds += time.process_time() - cpu
            metrics = {"step": progress.step, "tokens": progress.tokens, **metrics}
            metrics |= {"seconds": progress.seconds, "tokens_per_second": (progress.tokens - tokens) / wall}
            left = config.steps - progress.step
            if config.average > 1 and left % config.average_every == 0 and left < config.average * config.average_every:
                self.snapshots.append(self.weights())
            if progress.step % config.valid_every == 0 or progress.step == config.steps:
                if self.valid:
                    metrics["val_loss"] = self.validate()
                    self._remember(metrics["val_loss"])
                self._log(metrics)
                self.save()
            else:
                self._log(metrics)
            report(metrics)
            if config.patience and progress.worse >= config.patience:
                break
        if self.stop:
            self.save()
        else:
            self.model.load_state_dict(self.product())
        return self.model.eval()

    def _remember(self, loss: float) -> None:
        """Early stopping's bookkeeping."""
        if loss < self.progress.best:
            self.progress.best, self.progress.worse = loss, 0
            self.best_weights = self.weights() if self.config.patience else None
        else:
            self.progress.worse += 1

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def product(self) -> dict[str, Tensor]:
        """The weights to use: the mean of the snapshots, or the best by validation, or the last."""
        if self.snapshots:
            return mean_of(self.snapshots)
        return self.best_weights if self.best_weights is not None else self.weights()

    # ------------------------------------------------------------------------------------ checkpoints

    def _log(self, metrics: Metrics) -> None:
        if self.out is not None and self.rank == 0:
            with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({k: round(v, 7) for k, v in metrics.items()}) + "\n")

    def _names(self, optimizer: Optimizer) -> list[str]:
        """The parameters of an optimizer, in the order in which its state_dict numbers them."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]

    def save(self) -> None:
        """Into the folder: `model.safetensors`, the weights to use; `state.safetensors`, all that resuming needs."""
        if self.out is None or self.rank != 0:
            return
        state = {f"weights.{name}": tensor for name, tensor in self.weights().items()}
        for optimizer in self.optimizers:
            kind, names = type(optimizer).__name__.lower(), self._names(optimizer)
            for number, slots in optimizer.state_dict()["state"].items():
                state |= {f"{kind}.{key}.{names[number]}": tensor for key, tensor in slots.items()}
        for number, snapshot in enumerate(self.snapshots):
            state |= {f"snapshot.{number}.{name}": tensor for name, tensor in snapshot.items()}
        state |= {f"best.{name}": tensor for name, tensor in (self.best_weights or {}).items()}
        state["random"] = torch.get_rng_state()
        if self.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state()
        about = {"progress": json.dumps(vars(self.progress)), "scaler": json.dumps(self.scaler.state_dict())}
        write_tensors(self.out / "state.safetensors", state, about)
        write_tensors(self.out / "model.safetensors", self.product())

    def resume(self) -> None:
        """Go on exactly where `save` was called last: same batches, same dropout, same losses."""
        if self.out is None:
            raise ValueError("resume: this trainer has no folder to resume from")
        path = self.out / "state.safetensors"
        state, about = read_tensors(path)
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        load_weights(self.model, parts["weights"], path)
        for optimizer in self.optimizers:
            slots: dict[str, dict[str, Tensor]] = {}
            for key, tensor in parts.get(type(optimizer).__name__.lower(), {}).items():
                slot, _, name = key.partition(".")
                slots.setdefault(name, {})[slot] = tensor
            names = self._names(optimizer)
            if slots.keys() != set(names):
                raise ValueError(f"{path}: not the state of --optimizer {self.config.optimizer}")
            numbered = {number: slots[name] for number, name in enumerate(names)}
            optimizer.load_state_dict(optimizer.state_dict() | {"state": numbered})
        snapshots: dict[str, dict[str, Tensor]] = {}
        for key, tensor in parts.get("snapshot", {}).items():
            number, _, name = key.partition(".")
            snapshots.setdefault(number, {})[name] = tensor.to(self.device)
        self.snapshots = [snapshots[number] for number in sorted(snapshots, key=int)]
        self.best_weights = {k: v.to(self.device) for k, v in parts["best"].items()} if "best" in parts else None
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"])
        self.progress = Progress(**json.loads(about["progress"]))
        scaler: dict[str, Any] = json.loads(about["scaler"])
        if scaler:
            self.scaler.load_state_dict(scaler)
        self._forget_later_metrics()

    def _forget_later_metrics(self) -> None:
        """Lines of metrics that were written after the checkpoint will be written again."""
        assert self.out is not None
        path = self.out / "metrics.jsonl"
        if path.exists() and self.rank == 0:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= self.progress.step]
            path.write_text("".join(kept), encoding="utf-8")


def load_weights(model: Transformer, weights: dict[str, Tensor], where: Path) -> None:
    """Put weights into a model; ValueError that names the first tensor that does not fit."""
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        if name not in weights or name not in wanted:
            raise ValueError(f"{where}: tensor {name} is {'missing' if name in wanted else 'not part of this model'}")
        if weights[name].shape != wanted[name].shape:
            raise ValueError(
                f"{where}: tensor {name} is {tuple(weights[name].shape)}; this model has {tuple(wanted[name].shape)}"
            )
    model.load_state_dict(weights)
