"""The interface of an engine, and the choice between the two.

An engine turns ordinary text into ids. It knows nothing about special tokens, files or the command line.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bpe._common.errors import check_choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.uint32]

EngineName = Literal["auto", "python", "numba"]
ENGINES = ("auto", "python", "numba")
_FIX = ". Use engine='python'"


class Engine(Protocol):
    """What a tokenizer needs of an engine. Texts hold no surrogates; UnicodeEncodeError says that one does."""

    @property
    def name(self) -> Literal["python", "numba"]:
        """Which engine this is."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of an ordinary text."""

    def encode_array(self, text: str) -> Ids:
        """Return the ids of an ordinary text as an array."""

    def encode_pretokens(self, pretokens: Sequence[bytes]) -> list[int]:
        """Return the ids of pre-tokens that are already split; they may be any bytes."""

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        """Return the ids of each text."""

    def encode_arrays(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """Return the ids of each text as an array."""

    def count(self, text: str) -> int:
        """Return the number of ids of a text."""

    def decode(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> bytes:
        """Return the bytes of ordinary ids. Raises: KeyError for another id, TypeError for what is not an integer."""


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
        from bpe.fast.aot import CompilationError, entry_point

        try:
            entry_point(kernel)
        except CompilationError as error:
            if engine == "numba":
                raise
            _warn(error)
            return "python"
    return "numba" if installed else "python"


def make_engine(engine: EngineName, ranks: Mapping[bytes, int], pattern: str | None) -> Engine:
    """Build an engine for a vocabulary (token -> id) and a pattern.

    `auto` falls back to the python engine, with one warning, where the compiled engine does not work.
    """
    if choose_engine(engine) == "numba":
        from bpe.engines.numba import NumbaEngine
        from bpe.fast.aot import CompilationError
        from bpe.fast.encoder import UnsupportedVocabularyError

        try:
            return NumbaEngine(ranks, pattern)
        except (CompilationError, UnsupportedVocabularyError) as error:
            if engine == "numba":
                raise
            if isinstance(error, CompilationError):
                _warn(error)
    from bpe.engines.python import PythonEngine

    return PythonEngine(ranks, pattern)


def _warn(error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        logging.getLogger("bpe").warning("%s. Continuing with the python engine", str(error).removesuffix(_FIX))
