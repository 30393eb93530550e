"""Start, resume, or extend a run: which settings a run folder has, and whether a command may train into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gpt2._common.atomic import read_json_object
from gpt2._common.errors import check_integer
from gpt2._common.run_folder import check_same_settings, claim_run_folder
from gpt2.config import GPT2Config, TrainConfig
from gpt2.training.checkpoint import read_progress

TRAIN_CONFIG = "train_config.json"  # config.json is Hugging Face's
ALSO = (TRAIN_CONFIG, "README.md", "tokenizer_config.json", "generation_config.json", "model.safetensors.index.json")
# Settings that do not shape the trajectory beyond rounding; any number of processes resumes any other number.
NOT_COMPARED = (
    *("device", "compile", "micro_batch", "activation_checkpointing", "parallel", "report_mfu"),
    *("log_every", "checkpoint_every"),
)


@dataclass(frozen=True)
class RunStart:
    """How a command starts: its config (steps extended, dtype as stored), and whether it resumes or is finished."""

    config: TrainConfig
    resume: bool = False
    finished: bool = False
    step: int = 0
    extensions: tuple[int, ...] = ()


def start_run(
    folder: Path, config: TrainConfig, *, resume: bool = False, overwrite: bool = False, extend: int | None = None
) -> RunStart:
    """Decide how to train into `folder`, before any work is done; writes nothing.

    extend: continue a finished run for this many more steps. The steps of the command plus those of all extensions are
    the steps of the run.
    Raises: ValueError that says what to do if the folder holds a run or another model.
    """
    if extend is not None:
        check_integer("extend", extend, 1)
        if not resume:
            raise ValueError("`extend` must be used with --resume")
    if not claim_run_folder(folder, resume=resume, overwrite=overwrite, config=TRAIN_CONFIG):
        if extend is not None:
            raise ValueError(f"{folder}: has no finished run to extend")
        return RunStart(config)
    stored = read_json_object(folder / TRAIN_CONFIG)
    train, extensions = stored.get("train"), tuple(stored.get("extensions", ()))
    progress = read_progress(folder)
    if not isinstance(train, dict) or progress is None:
        raise ValueError(f"{folder / TRAIN_CONFIG}: not the settings of a run")
    if config.dtype == "auto":
        config = dataclasses.replace(config, dtype=train.get("dtype", "auto"))
    steps = config.steps + sum(extensions)
    finished = progress["step"] >= steps or progress["stopped_early"]
    if extend is not None and progress["stopped_early"]:
        raise ValueError(f"{folder}: early stopping ended this run, so it cannot be extended. Start a longer one")
    if extend is not None and finished:
        extensions, steps, finished = (*extensions, extend), steps + extend, False
    elif extend is not None and extensions[-1:] != (extend,):  # the same command continues an interrupted extension
        raise ValueError(
            f"`extend` must be used with a finished run, and {folder} is at step {progress['step']} of {steps}. "
            "Continue it with --resume alone"
        )
    config = dataclasses.replace(config, steps=steps)
    return RunStart(config, resume=True, finished=finished, step=progress["step"], extensions=extensions)


def compare_settings(stored: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise ValueError that names the setting in which a resumed run differs from the stored one."""
    ignore = [*NOT_COMPARED, "version", "extensions"]
    if not now["train"]["patience"]:
        ignore.append("eval_every")  # evaluations then decide nothing
    if tuple(stored.get("extensions", ())) != tuple(now["extensions"]):
        ignore.append("steps")  # they are extended now
    check_same_settings(stored, now, folder, ignore)


def run_settings(
    model: GPT2Config, config: TrainConfig, data: Mapping[str, Any], extensions: Sequence[int], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of train_config.json. more: further training settings, such as the device."""
    return {
        "model": dataclasses.asdict(model),
        "train": {**dataclasses.asdict(config), **more},
        "data": dict(data),
        "extensions": list(extensions),
        "version": version("dlpapers-gpt2"),
    }
