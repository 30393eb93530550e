"""The one place where another package of the house is looked for: it may be there, and none is needed."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any


def shared(module: str, wanted: str) -> Any:
    """The module of dlpapers_shared by that name; ModuleNotFoundError says what for and how to install it."""
    try:
        metadata.version("dlpapers-shared")  # the name alone might be a stranger's
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"{wanted} needs dlpapers-shared: pip install ./shared (in a clone of dlpapers)"
        ) from None
    return importlib.import_module(f"dlpapers_shared.{module}")
