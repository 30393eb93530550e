"""The training loop: batches, steps, held-out measures, and a state that a resumed run continues bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attention_numpy import checkpoint
from attention_numpy.anomaly import detect_anomaly
from attention_numpy.language_model import LanguageModel, LanguageModelConfig
from attention_numpy.layer import Array
from attention_numpy.layers import Rng, new_rng
from attention_numpy.loss import cross_entropy
from attention_numpy.model import Transformer, TransformerConfig
from attention_numpy.optim import Adam, LinearSchedule, NoamSchedule, Schedule, clip_gradients
from attention_numpy.tasks import BOS, EOS, PAD, Task, TaskName, make_task


@dataclass(frozen=True)
class TrainConfig:
    """All that determines a training run: the same configuration gives the same curve."""

    task: TaskName | Literal["text"] = "number-words"
    digits: int = 3
    """Of the numbers to add (task addition)."""
    sum_reversed: bool = True
    """Whether the sum is written from its last digit to its first (task addition)."""
    text: str | None = None
    """A text file to model character by character (task text)."""
    steps: int = 1000
    batch: int = 64
    length: int = 64
    """Characters a sequence (task text)."""
    lr: float = 2e-3
    """The peak of the learning rate; with the Noam schedule, its factor."""
    warmup: int = 100
    schedule: Literal["linear", "noam"] = "linear"
    label_smoothing: float = 0.0
    clip: float = 1.0
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    d_ff: int = 256
    dropout: float = 0.0
    norm: Literal["post", "pre"] = "post"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "length", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} met, at least 1 is needed")
        if (self.task == "text") != (self.text is not None):
            raise ValueError("text: the task text needs a file, and no other task takes one")
        if not self.clip > 0:
            raise ValueError(f"clip: {self.clip} met, a number above 0 is needed")

    def learning_rate(self) -> Schedule:
        """The schedule that is asked for."""
        if self.schedule == "noam":
            return NoamSchedule(self.d_model, self.warmup, self.lr)
        return LinearSchedule(self.lr, min(self.warmup, self.steps), self.steps)


class TaskObjective:
    """A generated task for the encoder-decoder: the measure is exact match on held-out inputs, decoded greedily."""

    measure = "exact_match"

    def __init__(self, config: TrainConfig) -> None:
        assert config.task != "text"
        self.task: Task = make_task(config.task, config.digits, config.sum_reversed)
        self.batch = config.batch

    def new_model(self, c: TrainConfig) -> Transformer:
        """A model whose vocabularies are the task's."""
        sizes = (c.d_model, c.n_heads, c.n_layers, c.d_ff, c.dropout, c.norm)
        return Transformer(TransformerConfig(len(self.task.source), len(self.task.target), *sizes), seed=c.seed)

    def draw(self, rng: Rng) -> tuple[tuple[Array, ...], Array, int | None]:
        """Inputs of the model, targets, and the id that does not count."""
        source, target = self.task.arrays(self.task.pairs(rng, self.batch, "train"))
        return (source, target[:, :-1]), target[:, 1:], PAD

    def evaluate(self, model: Any, count: int) -> float:
        """The share of held-out inputs whose output is right to the last symbol; always the same inputs."""
        pairs = sorted(self.task.pairs(new_rng(1), count, "held-out"), key=lambda pair: len(pair[0]))
        right = 0
        for start in range(0, count, 250):
            source, target = self.task.arrays(pairs[start : start + 250])
            outputs = model.generate(source, bos=BOS, eos=EOS, max_length=target.shape[1] + 3)
            right += sum(
                out == [i for i in row[1:] if i not in (PAD, EOS)]
                for out, row in zip(outputs, target.tolist(), strict=True)
            )
        return right / count


class TextObjective:
    """A text's characters for the decoder-only model: the measure is the held-out loss in nats a character."""

    measure = "held_out_loss"

    def __init__(self, config: TrainConfig) -> None:
        assert config.text is not None
        text = Path(config.text).read_text(encoding="utf-8")
        self.characters = sorted(set(text))
        self.ids = {c: i for i, c in enumerate(self.characters)}
        data = np.array([self.ids[c] for c in text])
        self.batch, self.length = config.batch, config.length
        split = len(data) * 9 // 10
        self.data, self.held_out = data[:split], data[split:]
        if min(len(self.data), len(self.held_out)) <= self.length:
            raise ValueError(f"text: {len(data)} characters met, more than {10 * self.length + 10} are needed")

    def new_model(self, c: TrainConfig) -> LanguageModel:
        """A model whose vocabulary is the text's characters."""
        sizes = (c.d_model, c.n_heads, c.n_layers, c.d_ff, c.dropout, c.norm)
        return LanguageModel(LanguageModelConfig(len(self.characters), *sizes), seed=c.seed)

    def draw(self, rng: Rng) -> tuple[tuple[Array, ...], Array, int | None]:
        """Windows of the text, and the same shifted by one."""
        starts = rng.integers(0, len(self.data) - self.length, self.batch)
        windows = self.data[starts[:, None] + np.arange(self.length + 1)]
        return (windows[:, :-1],), windows[:, 1:], None

    def evaluate(self, model: Any, count: int) -> float:
        """The mean loss over at most `count` windows of the last tenth of the text, which is never trained on."""
        count = max(1, min(count, (len(self.held_out) - 1) // self.length))
        windows = [self.held_out[i * self.length : (i + 1) * self.length + 1] for i in range(count)]
        model.eval()
        losses = []
        for start in range(0, count, 64):
            part = np.array(windows[start : start + 64])
            losses.append((cross_entropy(model(part[:, :-1]), part[:, 1:])[0], len(part)))
        model.train()
        return sum(loss * size for loss, size in losses) / count


class Trainer:
    """A model, its objective, its optimizer and its random numbers."""

    def __init__(self, config: TrainConfig, *, anomalies: bool = False) -> None:
        self.config = config
        self.objective = TextObjective(config) if config.task == "text" else TaskObjective(config)
        self.model: Any = self.objective.new_model(config)
        self.optimizer = Adam(self.model.parameters(), schedule=config.learning_rate())
        self.rng = new_rng(config.seed + 1)
        self.anomalies = anomalies
        self.tokens = 0

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

    def evaluate(self, count: int = 500) -> float:
        """The objective's measure on `count` held-out examples."""
        return self.objective.evaluate(self.model, count)

    # --------------------------------------------------------------------------------------- saving, resuming

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors and training.safetensors."""
        extra = {"characters": self.objective.characters} if isinstance(self.objective, TextObjective) else {}
        text = json.dumps({**asdict(self.config), **extra}, indent=1, ensure_ascii=False)
        checkpoint.write_atomically(folder / "config.json", text.encode())
        checkpoint.save(folder / "model.safetensors", self.model.state_dict())
        rngs = {"data": rng_state(self.rng), "model": rng_state(self.model.rng), "tokens": self.tokens}
        arrays = {**self.optimizer.state_dict(), "w": self.model.parameters().data}
        checkpoint.save(folder / "training.safetensors", arrays, {"state": json.dumps(rngs)})

    def restore(self, folder: Path) -> None:
        """Go on where `save` left off: same batches, same losses."""
        found = config_of(folder)
        if replace(found, steps=1) != replace(self.config, steps=1):
            names = [n for n in asdict(found) if n != "steps" and getattr(found, n) != getattr(self.config, n)]
            raise ValueError(f"resume: the run in {folder} has another {', '.join(names)}")
        arrays, metadata = checkpoint.load(folder / "training.safetensors")
        weights = arrays.pop("w", np.empty(0))
        if weights.shape != self.model.parameters().data.shape or "state" not in metadata:
            raise ValueError(f"resume: {folder / 'training.safetensors'} belongs to another configuration")
        self.optimizer.load_state_dict(arrays)
        self.model.parameters().data[...] = weights
        state = json.loads(metadata["state"])
        self.tokens = int(state["tokens"])
        for rng, saved in ((self.rng, state["data"]), (self.model.rng, state["model"])):
            saved["state"]["state"] = np.array(saved["state"]["state"], np.uint64)
            rng.bit_generator.state = saved


def rng_state(rng: Rng) -> dict[str, Any]:
    """The state of a generator, as JSON can hold it."""
    state: dict[str, Any] = dict(rng.bit_generator.state)
    inner = dict(state["state"])
    inner["state"] = inner["state"].tolist()
    return {**state, "state": inner}


def config_of(folder: Path) -> TrainConfig:
    """The configuration of a run; ValueError where there is none."""
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"run: {folder} holds no config.json; train one first, for example `attention-numpy demo`")
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("characters", None)
    try:
        return TrainConfig(**values)
    except TypeError as error:
        raise ValueError(f"run: {path} is no configuration of this version ({error})") from error


@contextmanager
def loaded(folder: Path) -> Iterator[Trainer]:
    """A finished run, ready to be used."""
    trainer = Trainer(config_of(folder))
    arrays, _ = checkpoint.load(folder / "model.safetensors")
    trainer.model.load_state_dict(arrays)
    trainer.model.eval()
    yield trainer
