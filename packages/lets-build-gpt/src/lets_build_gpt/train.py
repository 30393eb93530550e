"""Training: batches, Muon and AdamW, schedule, evaluation, checkpoints, exact resume."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lets_build_gpt import machine, storage
from lets_build_gpt.config import TrainConfig
from lets_build_gpt.data import Batches, load_text, split
from lets_build_gpt.evaluate import evaluate
from lets_build_gpt.model import Model
from lets_build_gpt.muon import Muon
from lets_build_gpt.tokenizer import CharTokenizer

LOGGED_LINES = 200  # metrics.jsonl gets about as many, however long the run


@dataclass(frozen=True)
class Result:
    """How a run ended: the last validation loss (None before the first), steps, CPU seconds, whether by Ctrl-C."""

    val_loss: float | None
    steps: int
    cpu_seconds: float
    interrupted: bool


def learning_rate(step: int, steps: int, warmup: float) -> float:
    """The part of the peak learning rate that step 0 … steps - 1 uses: up linearly, then down to zero linearly."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / (steps - rising + 1)


def make_optimizers(
    model: Model, config: TrainConfig, dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all. Only those matrices decay.

    dtype: of Muon's products.
    """
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adamw: dict[str, Any] = {"lr": config.lr, "betas": (0.9, config.beta2), "fused": True}
    if config.optimizer == "muon":
        muon = Muon(matrices, config.muon_lr, config.momentum, config.weight_decay, dtype)
        return [muon, torch.optim.AdamW(rest, weight_decay=0.0, **adamw)]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return [torch.optim.AdamW(groups, **adamw)]


def train(
    config: TrainConfig,
    on_step: Callable[[int, float], None] | None = None,
    on_evaluation: Callable[[dict[str, float | int], str], None] | None = None,
) -> Result:
    """Train a model on a text and leave it in config.out; Ctrl-C ends it after a step, with a checkpoint.

    on_step gets the number of steps done and the loss; on_evaluation a line of the metrics and a sample.
    ValueError for bad settings or files, or when the loss is no number any more.
    """
    machine.keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    run = Run(config)
    with interrupts_deferred() as interrupted:
        while run.step < config.steps and not interrupted():
            loss = run.do_step()
            if on_step:
                on_step(run.step, loss)
            if run.evaluation_due():
                metrics, sample = run.evaluate()
                if on_evaluation:
                    on_evaluation(metrics, sample)
            if run.due(config.checkpoints):
                run.save_checkpoint()
        if run.step < config.steps:
            run.save_checkpoint()
        return Result(run.val_loss, run.step, run.cpu_seconds(), run.step < config.steps)


@contextmanager
def interrupts_deferred() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C does not break a step: the function it gives tells whether there was one."""
    seen: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    except ValueError:  # not the main thread, which alone gets Ctrl-C
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)


class Run:
    """The state of one training run."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.folder = Path(config.out)
        self.device = machine.choose_device(config.device)
        self.dtype = machine.choose_dtype(config.dtype, self.device)
        train_text, val_text = split(load_text(config.text))
        checkpoint = self._checkpoint_to_resume()
        self.tokenizer = CharTokenizer.from_text(train_text + val_text)
        self.val_ids = torch.tensor(self.tokenizer.encode(val_text))
        ids = torch.tensor(self.tokenizer.encode(train_text))
        self.batches = Batches(ids, config.batch_size, config.context_length, config.seed)
        torch.manual_seed(config.seed)
        self.model = Model.from_config(config.model(self.tokenizer.n_vocab)).to(self.device)
        self.optimizers = make_optimizers(self.model, config, self.dtype)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.loss_function: Callable[[Tensor, Tensor], Tensor] = self.model.loss
        if config.compile:
            self.loss_function = torch.compile(self.model.loss)
        self.step = 0
        self.val_loss: float | None = None
        self._recent: list[float] = []
        self._seconds_before = self._cpu_before = 0.0
        self._started, self._cpu_started = time.perf_counter(), time.process_time()
        if checkpoint:
            self._restore(checkpoint)
        else:
            self._begin()

    # ------------------------------------------------------------------------------------------- steps

    def do_step(self) -> float:
        """One update of the weights; returns the loss of its batch."""
        # every step draws from its own seed: dropout after a resume is what it would have been
        torch.manual_seed(self.config.seed + 1_000_003 * self.step)
        x, y = (t.to(self.device) for t in self.batches.batch(self.step))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss = self.loss_function(x, y)
        self.scaler.scale(loss).backward()
        rate = learning_rate(self.step, self.config.steps, self.config.warmup)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.setdefault("initial_lr", group["lr"])
        if self.config.clip:  # Muon's step does not depend on the gradient's length
            clipped = [p for group in self.optimizers[-1].param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(clipped, self.config.clip)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self.model.zero_grad()
        self.step += 1
        value = loss.item()
        if not math.isfinite(value):
            raise ValueError(
                f"loss: {value} at step {self.step}; try a lower --lr or --muon-lr. The last checkpoint is kept"
            )
        self._recent.append(value)
        if self.due(LOGGED_LINES):
            self._log({})
        return value

    def due(self, times: int) -> bool:
        """Whether the step just done is one of `times` that divide the run evenly, the last among them."""
        return self.step * times // self.config.steps > (self.step - 1) * times // self.config.steps

    def evaluation_due(self) -> bool:
        """Whether the validation split is to be scored now."""
        return self.due(self.config.evaluations)

    def evaluate(self) -> tuple[dict[str, float | int], str]:
        """Score the validation split, keep the weights, draw a sample; returns the line of metrics and the sample."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            self.val_loss = evaluate(self.model, self.val_ids)
        self._save_model()
        generator = torch.Generator(self.device).manual_seed(self.config.seed)
        start = torch.tensor([self.tokenizer.encode(self.tokenizer.start())], device=self.device)
        ids = self.model.generate(start, 1 + self.config.sample_length, generator=generator)
        return self._log({"val_loss": self.val_loss}), self.tokenizer.decode(ids[0].tolist())

    # ----------------------------------------------------------------------------------------- records

    def cpu_seconds(self) -> float:
        """CPU time that this run has taken, its evaluations and its time before a resume included."""
        return self._cpu_before + time.process_time() - self._cpu_started

    def seconds(self) -> float:
        """Wall time, likewise."""
        return self._seconds_before + time.perf_counter() - self._started

    def _log(self, more: dict[str, float | int]) -> dict[str, float | int]:
        """Append a line to metrics.jsonl: the mean loss since the last line."""
        tokens = self.step * self.config.batch_size * self.config.context_length
        line: dict[str, float | int] = {"step": self.step, "tokens": tokens}
        if self._recent:
            line["loss"] = sum(self._recent) / len(self._recent)
            self._recent.clear()
        line |= {
            **more,
            "lr": self.optimizers[0].param_groups[0]["lr"],
            "seconds": self.seconds(),
            "cpu_seconds": self.cpu_seconds(),
            "tokens_per_second": tokens / self.seconds(),
        }
        with (self.folder / storage.METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return line

    def _save_model(self) -> None:
        storage.save_model(self.model, self.folder, training=asdict(self.config), val_loss=self.val_loss)

    def save_checkpoint(self) -> None:
        """Write all that a resume needs."""
        storage.save_checkpoint(
            self.folder,
            {
                "training": asdict(self.config),
                "characters": self.tokenizer.characters,
                "step": self.step,
                "val_loss": self.val_loss,
                "recent": list(self._recent),
                "model": self.model.state_dict(),
                "optimizers": [o.state_dict() for o in self.optimizers],
                "scaler": self.scaler.state_dict(),
                "seconds": self.seconds(),
                "cpu_seconds": self.cpu_seconds(),
            },
        )

    # ----------------------------------------------------------------------------------------- beginning

    def _begin(self) -> None:
        """Make the folder of a new run; one that holds a run already is not overwritten."""
        if (self.folder / storage.CONFIG).exists():
            raise ValueError(
                f"out: {self.folder} holds a run already; give another --out, or --resume to go on with it"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(self.folder / storage.VOCABULARY)
        (self.folder / storage.METRICS).write_text("", encoding="utf-8")
        self._save_model()

    def _checkpoint_to_resume(self) -> dict[str, Any] | None:
        if not self.config.resume:
            return None
        checkpoint = storage.load_checkpoint(self.folder)
        # where it runs may change between the parts of a run; what it computes may not
        free = ("resume", "out", "device", "threads", "compile", "checkpoints")
        ours, theirs = asdict(self.config), checkpoint["training"]
        changed = [name for name in ours if name not in free and ours[name] != theirs.get(name)]
        if changed:
            name = changed[0]
            raise ValueError(
                f"{name}: {ours[name]!r}, but the run in {self.folder} was begun with {theirs.get(name)!r}"
            )
        return checkpoint

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint["characters"] != self.tokenizer.characters:
            raise ValueError(f"text: its characters are not those that the run in {self.folder} was begun with")
        self.model.load_state_dict(checkpoint["model"])
        for optimizer, state in zip(self.optimizers, checkpoint["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.scaler.load_state_dict(checkpoint["scaler"])
        self.step, self.val_loss = checkpoint["step"], checkpoint["val_loss"]
        self._recent = checkpoint["recent"]
        self._seconds_before, self._cpu_before = checkpoint["seconds"], checkpoint["cpu_seconds"]
        path = self.folder / storage.METRICS
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]  # later ones come again
        storage.write_atomically(path, lambda p: p.write_text("".join(kept), encoding="utf-8"))
