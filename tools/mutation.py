"""Would the tests notice? Each listed fault is made in a copy of a package, and its suite has to fail.

A package lists its faults in `tests/mutants.py`:

    MUTANTS = [Mutant("attention.py", "/ math.sqrt(d_k)", "", "no scaling by sqrt(d_k)", "test_parity.py"), ...]

The old text must occur exactly once in the file. `tests` names the files of the suite that are run
(fewer are faster); without it the whole suite is.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A one-line fault: in which file of the package, what becomes what, the mistake it stands for."""

    file: str
    old: str
    new: str
    mistake: str
    tests: str = ""


def listed(folder: Path) -> list[Mutant]:
    """The MUTANTS of a package."""
    spec = importlib.util.spec_from_file_location("mutants", folder / "tests" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.MUTANTS)


def suite_passes(folder: Path, source: Path, tests: str) -> bool:
    """Run (part of) the suite on the package below `source`. An error in collecting is no verdict: it raises."""
    targets = [str(folder / "tests" / name) for name in tests.split()] or [str(folder / "tests")]
    # a mutant must not be saved by what hypothesis remembers, nor spoil it: no example database
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(source / "hypothesis"),
    }
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *targets]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest gave no verdict ({done.returncode})\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.returncode == 0


def mutate(source: Path, mutant: Mutant) -> None:
    """Make one fault in the copy below `source`; ValueError if its place is not found exactly once."""
    (module,) = [p for p in source.iterdir() if (p / "__init__.py").exists()]
    path = module / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.mistake}: {mutant.old!r} occurs {text.count(mutant.old)} times in {mutant.file}")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def main(folder: Path, only: list[str]) -> int:
    """Try every mutant (or those whose mistake holds one of the words); exit status 1 if any survives."""
    mutants = [m for m in listed(folder) if not only or any(word in m.mistake for word in only)]
    survivors = []
    with tempfile.TemporaryDirectory() as temporary:
        sound = Path(temporary) / "sound"
        shutil.copytree(folder / "src", sound)
        for tests in sorted({m.tests for m in mutants}):
            if not suite_passes(folder, sound, tests):
                raise RuntimeError(f"the suite ({tests or 'all of it'}) fails on the unchanged package")
        for number, mutant in enumerate(mutants):
            copy = Path(temporary) / str(number)
            shutil.copytree(folder / "src", copy)
            mutate(copy, mutant)
            survived = suite_passes(folder, copy, mutant.tests)
            print(f"{'SURVIVED' if survived else 'killed  '} {mutant.mistake}", flush=True)
            survivors += [mutant] if survived else []
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants killed")
    return 1 if survivors or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
