"""Training runs: which folder they may write to, what a resumed run must have in common, how a run is extended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lets_build_gpt._common.atomic import write_json, write_text
from lets_build_gpt._common.device import dtype_name, pick_device, pick_dtype
from lets_build_gpt._common.errors import check_integer, invalid
from lets_build_gpt._common.run_folder import (
    CONFIG,
    METRICS,
    TOKENIZER,
    TRAINING_STATE,
    check_same_settings,
    claim_run_folder,
    clear_run_folder,
)
from lets_build_gpt.checkpoint import NOT_COMPARED, package_version, read_settings, read_train_state, run_id_of
from lets_build_gpt.config import ModelConfig, OptimConfig, TrainConfig, resolve_warmup
from lets_build_gpt.data import TRAIN_FRACTION, check_length, fingerprint
from lets_build_gpt.tokenizer import CharTokenizer
from lets_build_gpt.train import Evaluation, Trainer

OVERFIT = 1.01  # a last validation loss above this multiple of the lowest one is reported as over-fitting


@dataclass(frozen=True)
class Result:
    """How a run ended.

    val_loss, best_val_loss, best_step: of the last evaluation, and of the lowest; None before the first one.
    finished: False if the run was interrupted. cpu_seconds: over all sessions of the run.
    """

    folder: Path
    step: int
    finished: bool
    val_loss: float | None
    best_val_loss: float | None
    best_step: int | None
    cpu_seconds: float

    def overfitting(self) -> str | None:
        """Return a sentence that describes over-fitting, or None if the last validation loss is near the lowest."""
        if self.val_loss is None or self.best_val_loss is None or self.val_loss <= OVERFIT * self.best_val_loss:
            return None
        return (
            f"Over-fitting: the validation loss rose from {self.best_val_loss:.4f} at step {self.best_step} to "
            f"{self.val_loss:.4f}. model.safetensors has the weights of step {self.best_step}. "
            "Use more text, more dropout or fewer steps"
        )


def train(
    model: ModelConfig,
    optim: OptimConfig,
    config: TrainConfig,
    text: str,
    out: Path,
    *,
    text_name: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    extend: int | None = None,
    say: Callable[[str], None] = lambda message: None,
    on_start: Callable[[int, int], object] = lambda step, steps: None,
    on_step: Callable[[int, float], object] | None = None,
    on_evaluation: Callable[[Evaluation], object] | None = None,
) -> Result:
    """Train a model on a text and leave everything in the folder `out`.

    text_name: where the text comes from, stored for `evaluate`. resume: continue the run of this folder, if it has
    one; overwrite: replace it; extend: continue a finished run for so many more steps. say: receives messages of one
    line. on_start: called with the first step and the number of steps. on_step, on_evaluation: see Trainer.fit.
    Raises: ValueError for bad settings or files, before anything is written; DivergenceError.
    """
    if out.resolve() == Path.cwd():
        raise invalid("out", "be a folder of its own, not the current one", str(out))
    if extend is not None:
        check_integer("extend", extend, 1)
        if not resume:
            raise ValueError("`extend` continues a finished run: add --resume")
    resumes = claim_run_folder(out, resume=resume, overwrite=overwrite)
    if extend is not None and not resumes:
        raise ValueError(f"`extend` continues a finished run, but {out} has none")
    check_length(text, model.context_length, text_name or "text")
    tokenizer = CharTokenizer.from_text(text)
    saved = read_settings(out) if resumes else {}
    if resumes and not isinstance(saved.get("train"), dict):
        raise ValueError(f"{out / CONFIG}: must hold the settings of a run under `train`")

    device = pick_device(config.device)
    stored_dtype = saved.get("train", {}).get("dtype")
    chosen = stored_dtype if config.dtype == "auto" and isinstance(stored_dtype, str) else config.dtype
    notes: list[str] = []  # said once all checks have passed, so that an error is a single line
    dtype = dtype_name(pick_dtype(chosen, device, notes.append))
    optim = replace(optim, warmup_steps=resolve_warmup(optim, config.steps))
    config = replace(config, device=str(device), dtype=dtype)  # type: ignore[arg-type]
    settings = _settings(replace(model, vocab_size=tokenizer.vocab_size), optim, config, text, text_name)
    notes.append(f"Training on {device}, {dtype}.")
    notes.append(f"Text: {len(text):,} characters, {tokenizer.vocab_size} distinct.")
    if resumes:
        check_same_settings(saved, settings, out, NOT_COMPARED)
        extended = saved.get("extended_steps", 0)
        _check_steps(saved, config.steps, extended, out)
        config = replace(config, steps=config.steps + extended)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    trainer = Trainer(model, optim, config, text, out, run_id_of(saved or settings))
    if resumes:
        trainer.load()
        tokenizer.save(out / TOKENIZER)  # derived from the text, which is the same: repairs a damaged file
    for note in notes:
        say(note)
    if resumes:
        if trainer.steps_done >= config.steps:
            if extend is None:
                say(f"{out}: already finished at step {trainer.steps_done}; add --extend N to train N more steps")
                return _result(trainer, out, finished=True)
            config = replace(config, steps=trainer.steps_done + extend)
            total = {**settings["train"], "steps": config.steps}
            write_json(out / CONFIG, {**settings, "train": total, "extended_steps": extended + extend})
            trainer.config = config
        elif extend is not None:
            say(f"{out}: not finished yet; resuming until step {config.steps}")
    else:
        clear_run_folder(out)
        write_json(out / CONFIG, settings)
        tokenizer.save(out / TOKENIZER)
        write_text(out / METRICS, "")
    on_start(trainer.steps_done, config.steps)
    finished = trainer.fit(on_step, on_evaluation)
    return _result(trainer, out, finished=finished)


def finished_result(out: Path, model: ModelConfig) -> Result | None:
    """Return the result of the finished run in `out` if it trained `model` on the default text; None otherwise."""
    if not (out / CONFIG).is_file() or not (out / TRAINING_STATE).is_file():
        return None
    settings, state = read_settings(out), read_train_state(out / TRAINING_STATE)
    try:
        same = ModelConfig(**{**settings["model"], "vocab_size": model.vocab_size}) == model
        finished = same and settings["data"]["text"] is None and state.step >= settings["train"]["steps"]
    except (KeyError, TypeError, ValueError):
        return None
    if not finished:
        return None
    return Result(out, state.step, True, state.val_loss, state.best_val_loss, state.best_step, state.cpu_seconds)


def _settings(
    model: ModelConfig, optim: OptimConfig, config: TrainConfig, text: str, text_name: str | None
) -> dict[str, Any]:
    """Return the content of config.json."""
    return {
        "model": asdict(model),
        "train": {**asdict(config), "optim": asdict(optim)},
        "data": {"text": text_name, "text_sha256": fingerprint(text), "train_fraction": TRAIN_FRACTION},
        "version": package_version(),
    }


def _check_steps(saved: dict[str, Any], steps: int, extended: Any, out: Path) -> None:
    """Raise ValueError unless the run was started with `steps` steps; extensions do not count."""
    total = saved["train"].get("steps")
    check_integer("extended_steps", extended, 0)
    check_integer("steps", total, 1)
    if total - extended != steps:
        raise ValueError(f"`steps` must be {total - extended} to resume {out}, got {steps}")


def _result(trainer: Trainer, out: Path, *, finished: bool) -> Result:
    state = trainer.state
    return Result(out, state.step, finished, state.val_loss, state.best_val_loss, state.best_step, state.cpu_seconds)
