"""The choice between the two engines.

Imports both, because a lazy import in one thread would be a trap for a process that another thread forks meanwhile.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from typing import Literal

from bpe._common.errors import check_choice
from bpe.engines.base import ENGINES, Engine, EngineName
from bpe.engines.numba import NumbaEngine
from bpe.engines.python import PythonEngine
from bpe.fast.aot import CompilationError, entry_point
from bpe.fast.encoder import UnsupportedVocabularyError

_FIX = ". Use engine='python'"


def compiled_available() -> bool:
    """Return whether the compiled engine is installed: numba and llvmlite. Neither is imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "llvmlite"))


_warned = False


def choose_engine(engine: str, *, kernel: str | None = None) -> Literal["python", "numba"]:
    """Return the engine that a name means; `auto` is numba where it is installed and works.

    kernel: also load this compiled kernel, which is needed soon.
    Raises: ValueError for another name, or for `numba` where it is not installed.
    """
    check_choice("engine", engine, ENGINES)
    installed = engine != "python" and compiled_available()
    if engine == "numba" and not installed:
        raise ValueError(
            "`engine` must be python where numba is not installed, got 'numba'. Install it: pip install numba"
        )
    if installed and kernel is not None:
        try:
            entry_point(kernel)
        except CompilationError as error:
            if engine == "numba":
                raise
            _warn(error)
            return "python"
    return "numba" if installed else "python"


def make_engine(
    engine: EngineName,
    ranks: Mapping[bytes, int],
    pattern: str | None,
    split: Callable[[str], list[str]] | None = None,
) -> Engine:
    """Build an engine for a vocabulary (token -> id) and a pattern. split: used instead of the pattern.

    `auto` falls back to the python engine, with one warning, where the compiled engine does not work.
    """
    if choose_engine(engine) == "numba":
        try:
            return NumbaEngine(ranks, pattern, split)
        except (CompilationError, UnsupportedVocabularyError) as error:
            if engine == "numba":
                raise
            if isinstance(error, CompilationError):
                _warn(error)
    return PythonEngine(ranks, pattern, split)


def _warn(error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        logging.getLogger("bpe").warning("%s. Continuing with the python engine", str(error).removesuffix(_FIX))
