"""Import what a command names, and run its check."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlpapers_shared.check.report import Report


def load(target: str) -> Any:
    """Return what MODULE:NAME or FILE.py:NAME names; the current folder comes first in the search path.

    Raises: ValueError if it cannot be imported, with the exception of the module in one line.
    """
    module, _, name = target.rpartition(":")
    if not module or not name:
        raise ValueError(f"`target` must be MODULE:NAME or FILE.py:NAME, got {target!r}")
    folder, file = os.path.split(module) if module.endswith(".py") else ("", module)
    sys.path.insert(0, os.path.abspath(folder))
    try:
        value: Any = importlib.import_module(file.removesuffix(".py"))
    except Exception as error:  # whatever the module raises
        text = " ".join(str(error).split())
        raise ValueError(f"`target` must be importable, got {type(error).__name__} in {module}: {text}") from None
    for part in name.split("."):
        if not hasattr(value, part):
            raise ValueError(f"`target` must name something in {module}, got {name!r}")
        value = getattr(value, part)
    return value


def report_of(subject: str, target: str, backward: str | None = None, **options: Any) -> Report:
    """Run the check of a subject on what a target names."""
    from dlpapers_shared import check as checks

    implementation = load(target)
    if backward is not None:
        options["backward"] = load(backward)
    report: Report = getattr(checks, subject)(implementation, **options)
    report.target = target
    return report
