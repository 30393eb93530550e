"""Do the tests detect known mistakes? Apply each mutant to a copy of a package and expect its suite to fail.

A package lists its mutants in `tests/mutants.py`:

    MUTANTS = [Mutant("attention.py", "/ math.sqrt(d_k)", "", "no scaling by sqrt(d_k)", "test_parity.py"), ...]

The old text must occur exactly once in the file. `tests` names the test files to run, fewer are faster; without it the
whole suite runs. `tests/mistakes.toml` says about each mistake, by its text, how visible it is (`level` 1 to 3, for
drills), why people make it (`why`), and where a public project made it (`link`, optional).
`mutation.py FOLDER [--jobs N] [WORD ...]`: all mutants, or those whose mistake contains a word.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """A one-line mistake: the file (relative to the package), the old and new text, what it stands for, which tests.

    level: 1, the symptom is plain; 2, it shows in one place; 3, only in numbers; 0, no drill. why: one sentence.
    link: a public issue about this mistake.
    """

    file: str
    old: str
    new: str
    mistake: str
    tests: str = ""
    level: int = 0
    why: str = ""
    link: str = ""


def listed(folder: Path) -> list[Mutant]:
    """The MUTANTS of a package, with what `tests/mistakes.toml` says about them."""
    spec = importlib.util.spec_from_file_location("mutants", folder / "tests" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    about = explanations(folder)
    return [dataclasses.replace(mutant, **about.get(mutant.mistake, {})) for mutant in module.MUTANTS]


def explanations(folder: Path) -> dict[str, dict[str, Any]]:
    """What `tests/mistakes.toml` of a package says, by the text of the mistake."""
    path = folder / "tests" / "mistakes.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def suite_passes(folder: Path, source: Path, tests: str) -> bool:
    """Run (part of) the suite on the package in `source`. Raises RuntimeError if pytest cannot collect or start."""
    targets = [str(folder / "tests" / name) for name in tests.split()] or [str(folder / "tests")]
    # no example database: a mutant must neither profit from what hypothesis remembers nor add to it
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")])),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(source / "hypothesis"),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *targets]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest gave no verdict ({done.returncode})\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.returncode == 0


def mutate(source: Path, mutant: Mutant) -> None:
    """Apply a mutant to the copy in `source`. Raises ValueError unless its old text occurs exactly once."""
    (module,) = [p for p in source.iterdir() if (p / "__init__.py").exists()]
    path = module / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.mistake}: {mutant.old!r} occurs {text.count(mutant.old)} times in {mutant.file}")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def survives(folder: Path, mutant: Mutant) -> bool:
    """Whether the suite passes with the mutant applied."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "src"
        shutil.copytree(folder / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        mutate(copy, mutant)
        survived = suite_passes(folder, copy, mutant.tests)
    print(f"{'SURVIVED' if survived else 'killed  '} {mutant.mistake}", flush=True)
    return survived


def main(folder: Path, arguments: list[str]) -> int:
    """Try the mutants; exit status 1 if any survives."""
    jobs = 1
    if "--jobs" in arguments:
        at = arguments.index("--jobs")
        jobs = int(arguments[at + 1])
        del arguments[at : at + 2]
    mutants = [m for m in listed(folder) if not arguments or any(word in m.mistake for word in arguments)]
    with ThreadPoolExecutor(jobs) as pool:
        selections = sorted({m.tests for m in mutants})
        for tests, passes in zip(
            selections, pool.map(lambda t: suite_passes(folder, folder / "src", t), selections), strict=True
        ):
            if not passes:
                raise RuntimeError(f"the suite ({tests or 'all of it'}) fails on the unchanged package")
        survivors = sum(pool.map(lambda m: survives(folder, m), mutants))
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants killed")
    return 1 if survivors or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
