# Vendored: edit shared/vendored/pretrained.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Trained models that a package ships. `pretrained:NAME` names one wherever a run folder is read."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from .errors import invalid

PREFIX = "pretrained:"


def is_pretrained(run: str | os.PathLike[str]) -> bool:
    """Return whether `run` names a shipped model and not a folder."""
    return os.fspath(run).startswith(PREFIX)


def find_run(run: str | os.PathLike[str], package: str) -> Path:
    """Return the folder of a run, or of the model that `package` ships as `pretrained:NAME`.

    Raises: ValueError that lists the shipped models if no model has that name.
    """
    if not is_pretrained(run):
        return Path(run)
    folder = Path(str(resources.files(package))) / "pretrained"
    names = sorted(path.parent.name for path in folder.glob("*/config.json"))
    name = os.fspath(run).removeprefix(PREFIX)
    if name not in names:
        raise invalid("run", f"be a folder or one of {', '.join(PREFIX + n for n in names)}", os.fspath(run))
    return folder / name


def check_own_folder(run: str | os.PathLike[str]) -> None:
    """Raise ValueError if `run` names a shipped model, for a command that writes into the run's folder."""
    if is_pretrained(run):
        raise invalid("run", "be the folder of a run of yours, which the command writes into", os.fspath(run))
