"""Shared utilities of the dlpapers repository: datasets, figures, a benchmark timer, checks, quizzes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlpapers_shared import check, data, quiz, timing, viz

    __version__: str

__all__ = ["check", "data", "quiz", "timing", "viz"]

_EXPORTS = {name: f"dlpapers_shared.{name}" for name in __all__}


def __getattr__(name: str) -> Any:
    """Import a module, or read the version, when it is first used."""
    if name == "__version__":
        from importlib import metadata

        value: Any = metadata.version("dlpapers-shared")
    elif name in _EXPORTS:
        value = importlib.import_module(_EXPORTS[name])
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__, "__version__"})
