# Vendored: edit shared/vendored/run_folder.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""The folder of a training run: what is in it, who may write to it, and what a resumed run must have in common."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .atomic import read_json_object
from .errors import invalid

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TRAINING_STATE = "training_state.safetensors"
TOKENIZER = "tokenizer.json"
METRICS = "metrics.jsonl"
LOSS_CURVE = "loss_curve.png"
RUN_FILES = (CONFIG, WEIGHTS, TRAINING_STATE, TOKENIZER, METRICS, LOSS_CURVE)


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run in this folder can be resumed: it has one training state, or one per process."""
    return (folder / TRAINING_STATE).is_file() or any(folder.glob("training_state-*"))


def claim_run_folder(
    folder: Path, *, resume: bool, overwrite: bool, config: str = CONFIG, also: Collection[str] = ()
) -> bool:
    """Decide whether a command may train into `folder`; return whether it resumes. Writes nothing.

    A folder with a run is refused unless one of `resume` and `overwrite` is set. A run that was killed before its
    first checkpoint counts as no run: it starts again. config: the file that holds the training settings.
    also: further files that a run of this package writes.
    Raises: ValueError that says what to do.
    """
    if resume and overwrite:
        raise ValueError("`resume` and `overwrite` must not both be set")
    if folder.exists() and not folder.is_dir():
        raise invalid("out", "be a folder", str(folder))
    if has_checkpoint(folder):
        if not (resume or overwrite):
            raise ValueError(
                f"{folder}: holds a run. Continue it with --resume, replace it with --overwrite, "
                "or choose another --out"
            )
        return resume
    if resume and (folder / WEIGHTS).exists():
        raise ValueError(f"{folder}: has weights but no {TRAINING_STATE}, so this run cannot be resumed")
    foreign = (folder / WEIGHTS).exists() or ((folder / CONFIG).exists() and not _is_config_of_a_run(folder / config))
    if foreign and not overwrite:
        raise ValueError(
            f"{folder}: holds a model that is not a run. Choose another --out, or replace it with --overwrite"
        )
    return False


def _is_config_of_a_run(path: Path) -> bool:
    try:
        return {"train", "version"} <= read_json_object(path).keys()
    except (ValueError, OSError):
        return False


def clear_run_folder(folder: Path, also: Collection[str] = ()) -> None:
    """Delete the files of an earlier run, and nothing else, before a new run writes its first file."""
    for name in (*RUN_FILES, *also):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("training_state-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_same_settings(
    saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path, ignore: Collection[str] = ()
) -> None:
    """Compare the settings of a run with those of the command that resumes it.

    Both are nested dictionaries as config.json holds them. ignore: names that do not shape the trajectory.
    Raises: ValueError that names the first setting that differs.
    """
    for name in [*saved, *(key for key in now if key not in saved)]:
        if name in ignore:
            continue
        old, new = saved.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            check_same_settings(old, new, folder, ignore)
        elif _plain(old) != _plain(new):
            raise ValueError(f"`{name}` must be {old!r} to resume {folder}, got {new!r}")


def _plain(value: Any) -> Any:
    """JSON has no tuples: a list and a tuple with the same items are the same setting."""
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
