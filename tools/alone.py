"""Prove that a package is tested alone: no other package of this repository is importable beside it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path

ROOT = Path(__file__).parent.parent


def siblings_in_sight(distribution: str) -> list[str]:
    """Distributions and modules of this repository, other than `distribution`, that this interpreter finds."""
    names = [str(d.metadata["Name"]) for d in importlib.metadata.distributions()]
    seen = [n for n in names if n.startswith("dlpapers-") and n != distribution]
    own = distribution.removeprefix("dlpapers-")
    folders = [p.parent for p in [*ROOT.glob("packages/*/src"), ROOT / "shared" / "src"] if p.parent.name != own]
    modules = [m.parent.name for folder in folders for m in folder.glob("src/*/__init__.py")]
    return sorted({*seen, *(m for m in modules if importlib.util.find_spec(m) is not None)})


def expected_alone() -> bool:
    """Whether nox made this environment for a single package."""
    return os.environ.get("DLPAPERS_ALONE") == "1"
