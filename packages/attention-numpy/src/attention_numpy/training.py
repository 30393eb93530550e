"""The training loop, and a saved state that a resumed run continues bit for bit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_numpy import checkpoint
from attention_numpy.anomaly import detect_anomaly
from attention_numpy.layers import Rng, new_rng
from attention_numpy.loss import cross_entropy
from attention_numpy.objectives import Objective, TrainConfig, make_objective
from attention_numpy.optim import Adam, clip_gradients

Metrics = dict[str, float]


class Trainer:
    """A model, its objective, its optimizer and its random numbers."""

    def __init__(self, config: TrainConfig, *, anomalies: bool = False) -> None:
        self.config = config
        self.objective = make_objective(config)
        self.model: Any = self.objective.new_model(config)
        self.optimizer = Adam(self.model.parameters(), schedule=config.learning_rate())
        self.rng = new_rng(config.seed + 1)
        self.anomalies = anomalies
        self.tokens, self.seconds = 0, 0.0
        self.curve: list[Metrics] = []

    @property
    def step_number(self) -> int:
        """How many steps were done."""
        return self.optimizer.t

    def step(self) -> float:
        """One batch: forward, backward, clipping, Adam; returns the loss. Floating-point errors raise."""
        inputs, targets, ignored = self.objective.draw(self.rng)
        with np.errstate(all="raise", under="ignore"), detect_anomaly(self.model) if self.anomalies else nullcontext():
            self.optimizer.zero_grad()
            logits = self.model(*inputs)
            smoothing = self.config.label_smoothing
            loss, dlogits = cross_entropy(logits, targets, label_smoothing=smoothing, ignore_index=ignored)
            self.model.backward(dlogits)
            clip_gradients(self.model.parameters(), self.config.clip)
            self.optimizer.step()
        self.tokens += targets.size if ignored is None else int((targets != ignored).sum())
        return loss

    def evaluate(self, count: int = 500) -> dict[str, float]:
        """The objective's measures on `count` held-out examples."""
        self.model.eval()
        try:
            return self.objective.evaluate(self.model, count)
        finally:
            self.model.train()

    def run(
        self,
        folder: Path,
        *,
        eval_every: int | None = None,
        eval_count: int = 500,
        on_step: Callable[[Metrics], None] = lambda metrics: None,
    ) -> Metrics:
        """Train to the end, keeping metrics.jsonl and, at every evaluation, a checkpoint; returns the last metrics.

        `seconds` are of the CPU, without evaluations. An interrupt (Ctrl-C) leaves a checkpoint and is passed on.
        """
        metrics: Metrics = {}
        start = time.process_time() - self.seconds
        try:
            while self.step_number < self.config.steps:
                loss, lr = self.step(), self.optimizer.lr
                self.seconds = time.process_time() - start
                metrics = {"step": self.step_number, "tokens": self.tokens, "loss": loss, "lr": lr}
                metrics |= {"seconds": round(self.seconds, 3), "tokens_per_s": round(self.tokens / self.seconds)}
                last = self.step_number == self.config.steps
                if last or (eval_every and self.step_number % eval_every == 0):
                    metrics |= self.evaluate(eval_count)
                    start = time.process_time() - self.seconds
                self.curve.append(metrics)
                if last or (eval_every and self.step_number % eval_every == 0):
                    self.save(folder)
                on_step(metrics)
        except KeyboardInterrupt:
            self.model.forget()
            self.save(folder)
            raise
        return metrics

    # --------------------------------------------------------------------------------------- saving, resuming

    def save(self, folder: Path) -> None:
        """Write config.json, metrics.jsonl, model.safetensors and training.safetensors."""
        values = {**asdict(self.config), **self.objective.saved()}
        checkpoint.write_atomically(folder / "config.json", json.dumps(values, indent=1, ensure_ascii=False).encode())
        lines = "".join(json.dumps(metrics) + "\n" for metrics in self.curve)
        checkpoint.write_atomically(folder / "metrics.jsonl", lines.encode())
        checkpoint.save(folder / "model.safetensors", self.model.state_dict())
        state: dict[str, Any] = {"data": rng_state(self.rng), "model": rng_state(self.model.rng)}
        state |= {"tokens": self.tokens, "seconds": self.seconds}
        arrays = {**self.optimizer.state_dict(), "w": self.model.parameters().data}
        checkpoint.save(folder / "training.safetensors", arrays, {"state": json.dumps(state)})

    def restore(self, folder: Path) -> None:
        """Go on where `save` left off: same batches, same losses."""
        found, _ = read_config(folder)
        if found != self.config:
            names = [n for n in asdict(found) if getattr(found, n) != getattr(self.config, n)]
            raise ValueError(f"resume: the run in {folder} has another {', '.join(names)}")
        arrays, metadata = checkpoint.load(folder / "training.safetensors")
        weights = arrays.pop("w", np.empty(0))
        if weights.shape != self.model.parameters().data.shape or "state" not in metadata:
            raise ValueError(f"resume: {folder / 'training.safetensors'} belongs to another configuration")
        self.optimizer.load_state_dict(arrays)
        self.model.parameters().data[...] = weights
        state = json.loads(metadata["state"])
        self.tokens, self.seconds = int(state["tokens"]), float(state["seconds"])
        for rng, saved in ((self.rng, state["data"]), (self.model.rng, state["model"])):
            saved["state"]["state"] = np.array(saved["state"]["state"], np.uint64)
            rng.bit_generator.state = saved
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        self.curve = [json.loads(line) for line in lines]


def rng_state(rng: Rng) -> dict[str, Any]:
    """The state of a generator, as JSON can hold it."""
    state: dict[str, Any] = dict(rng.bit_generator.state)
    inner = dict(state["state"])
    inner["state"] = inner["state"].tolist()
    return {**state, "state": inner}


def read_config(folder: Path) -> tuple[TrainConfig, list[str] | None]:
    """The configuration of a run and, of a text run, its characters; ValueError where there is none."""
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"run: {folder} holds no config.json; train one first, for example `attention-numpy demo`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        characters = values.pop("characters", None)
        return TrainConfig(**values), characters
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"run: {path} is no configuration of this version ({error})") from error


@dataclass
class FinishedRun:
    """A trained model with what is needed to use it."""

    config: TrainConfig
    objective: Objective
    model: Any


def load_run(folder: Path) -> FinishedRun:
    """The model of a run, in evaluation mode."""
    config, characters = read_config(folder)
    objective = make_objective(config, characters)
    model = objective.new_model(config)
    model.load_state_dict(checkpoint.load(folder / "model.safetensors")[0])
    model.eval()
    return FinishedRun(config, objective, model)
