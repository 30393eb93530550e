"""The one place where other packages of this collection are looked for: they may be there, and none is needed."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any


def sibling(module: str, distribution: str, folder: str, otherwise: str) -> Any:
    """A module of another package; ValueError says what it is for and how to install it.

    A stranger's package of the same import name does not count.
    """
    try:
        importlib.metadata.version(distribution)
        return importlib.import_module(module)
    except (importlib.metadata.PackageNotFoundError, ImportError):
        raise ValueError(f"{otherwise} (pip install {folder}, in a clone of this collection)") from None
