# Vendored: edit shared/vendored/optional.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Import an optional dependency, or raise one error that says how to install it."""

from __future__ import annotations

import importlib
from importlib import metadata
from types import ModuleType

from .errors import MissingDependencyError


def require(module: str, purpose: str, *, distribution: str | None = None, install: str | None = None) -> ModuleType:
    """Return a module that this package works without.

    module: the name to import, such as "dlpapers_shared.viz". purpose: completes the sentence "… needs X", such as
    "drawing figures". distribution: the name on the package index; checked first, because an unrelated package may
    use the same module name. install: the command that installs it.
    Raises: MissingDependencyError if it is not installed or cannot be imported.
    """
    top = module.partition(".")[0]
    distribution = distribution or top.replace("_", "-")
    if distribution.startswith("dlpapers-") and install is None:
        folder = "shared" if distribution == "dlpapers-shared" else f"packages/{distribution.removeprefix('dlpapers-')}"
        install = f'pip install "git+<address of the dlpapers repository>#subdirectory={folder}"'
    message = f"{purpose} needs {distribution}. Install it: {install or f'pip install {distribution}'}"
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise MissingDependencyError(message) from None
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(f"{message} (installed, but the import failed: {error})") from error


def is_installed(distribution: str) -> bool:
    """Return whether a distribution is installed."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
