"""Repair a planted mistake: `drill.py NAME` plants one in a copy below `drills/NAME` and shows its symptoms.

    drill.py NAME                the symptoms of the open drill, or of a new one
    drill.py NAME --level N      a new drill: 1, the symptom is plain; 2, it shows in one place; 3, only in numbers
    drill.py NAME --check        run the suite on your repair
    drill.py NAME --hint         the file, then the function, then the lines
    drill.py NAME --reveal       the difference, why people make this mistake, the test that detects it
    drill.py NAME --list         all drills so far, and how many mistakes are left

Exit status: 0, or 1 if --check fails, or 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import mutation
from drill_symptoms import ROOT, function_around, healthy, report, run_probes
from learn_plugin import run_checks
from mutation import Mutant

LEVELS = {1: "the symptom is plain", 2: "it shows in one place", 3: "it shows only in numbers"}
AFTER_REPAIR = 900  # seconds for the whole suite
NOT_FOR_REPAIRS = {"test_package.py", "test_learning.py", "test_drills.py", "test_runs.py", "test_cli.py"}


class DrillError(Exception):
    """Raised for what the user can correct; the text is one sentence that says how."""


class Drills:
    """The drills of one package: which were planted, which are solved, and the copies with the mistakes."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self.package = ROOT / "packages" / name
        self.folder = folder or ROOT / "drills" / name
        self.mutants = {key_of(m): m for m in mutation.listed(self.package) if m.level}

    # ------------------------------------------------------------------------------------------------ state

    def state(self) -> list[dict[str, Any]]:
        """Return the drills so far, oldest first."""
        path = self.folder / "progress.json"
        return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []

    def write(self, drills: list[dict[str, Any]]) -> None:
        """Write the drills so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "progress.json").write_text(json.dumps(drills, indent=1) + "\n", encoding="utf-8")

    def update(self, number: int, **values: Any) -> None:
        """Change what is remembered of one drill."""
        drills = self.state()
        drills[number - 1].update(values)
        self.write(drills)

    def open_drill(self) -> dict[str, Any] | None:
        """Return the newest drill that is neither solved nor revealed."""
        found = [d for d in self.state() if d["state"] == "open" and d["mistake"] in self.mutants]
        return found[-1] if found else None

    def must_be_open(self) -> dict[str, Any]:
        """Return the open drill. Raises: DrillError if there is none."""
        drill = self.open_drill()
        if drill is None:
            raise DrillError(f'no drill is open. Plant one: nox -s "drill({self.name})"')
        return drill

    def source(self, drill: dict[str, Any]) -> Path:
        """Return the folder of a drill's source."""
        return self.folder / f"{drill['number']:02}" / "src"

    def file(self, drill: dict[str, Any]) -> Path:
        """Return the file that holds the mistake."""
        module = next(self.source(drill).glob("*/__init__.py")).parent
        return module / self.mutants[drill["mistake"]].file

    # ------------------------------------------------------------------------------------------------ planting

    def plant(self, level: int | None = None, mistake: str | None = None) -> dict[str, Any]:
        """Copy the package, plant a mistake that was not planted before, and remember it."""
        done = {d["mistake"] for d in self.state()}
        choice = [k for k, m in self.mutants.items() if k not in done and level in (None, m.level)]
        if mistake is not None:
            choice = [k for k, m in self.mutants.items() if m.mistake == mistake]
        if not choice:
            where = f"of level {level} " if level else ""
            raise DrillError(f"every mistake {where}was planted already. `--list` shows them")
        key = random.SystemRandom().choice(choice)
        drills = self.state()
        drill = {"number": len(drills) + 1, "mistake": key, "state": "open", "hints": 0}
        copy = self.source(drill)
        if copy.exists():
            raise DrillError(f"{copy} must not exist. Move it away")
        shutil.copytree(self.package / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        mutation.mutate(copy, self.mutants[key])
        self.write([*drills, drill])
        return drill

    def symptoms(self, drill: dict[str, Any]) -> str:
        """Return what the planted mistake changes. Computed once; the text is kept beside the copy."""
        kept = self.source(drill).parent / "symptoms.txt"
        if not kept.exists():
            runs = healthy(self.package, self.folder / "healthy.json", self.version())
            with tempfile.TemporaryDirectory() as temporary:
                copy = Path(temporary) / "src"
                shutil.copytree(self.package / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
                mutation.mutate(copy, self.mutants[drill["mistake"]])
                lines = report(runs, run_probes(self.package, copy, 0))
            kept.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return kept.read_text(encoding="utf-8")

    def version(self) -> str:
        """Return a hash of the package's source and of its probes."""
        files = [*sorted((self.package / "src").rglob("*.py")), self.package / "tests" / "drills.py"]
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def key_of(mutant: Mutant) -> str:
    """Return a name of a mistake that does not tell what it is."""
    return hashlib.sha256(f"{mutant.file} {mutant.mistake}".encode()).hexdigest()[:12]


def tests_of(mutant: Mutant) -> list[str]:
    """Return the tests that detect a mistake; empty for the whole suite."""
    return mutant.tests.split()


# ------------------------------------------------------------------------------------------------- commands


def show(drills: Drills, drill: dict[str, Any]) -> int:
    """Print the symptoms of a drill and what to do."""
    mutant = drills.mutants[drill["mistake"]]
    place = relative(drills.source(drill))
    print(f"drill {drill['number']} of {drills.name}, level {mutant.level}: {LEVELS[mutant.level]}")
    print(f"One line of the copy in {place} is wrong. What differs from the healthy package:")
    print(drills.symptoms(drill))
    command = f'nox -s "drill({drills.name})" --'
    print(f"Repair {place}, then: {command} --check")
    print(f"If you need help: {command} --hint, or {command} --reveal")
    return 0


def relative(path: Path) -> Path:
    """Return a path below the repository's root without the root."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def check(drills: Drills) -> int:
    """Run the tests that detect the mistake, then the rest of the suite, on the learner's copy."""
    drill = drills.must_be_open()
    mutant, source = drills.mutants[drill["mistake"]], drills.source(drill)
    for path in sorted(source.rglob("*.py")):
        try:
            compile(path.read_text(encoding="utf-8"), str(path), "exec")
        except SyntaxError as error:
            print(f"{relative(path)}:{error.lineno}: {error.msg}")
            return 1
    files = [p.name for p in sorted((drills.package / "tests").glob("test_*.py")) if p.name not in NOT_FOR_REPAIRS]
    first = tests_of(mutant) or files
    for tests in (first, [name for name in files if name not in first]):
        results = run_checks(drills.package, source, tests, AFTER_REPAIR) if tests else []
        failed = [result for result in results if not result.passed]
        if failed:
            print("the suite fails on your copy: the mistake is still there, or there is another one now")
            if tests is not first:
                print(f"  {failed[0].sentence}")
            return 1
    drills.update(drill["number"], state="solved")
    print(f"the suite passes: drill {drill['number']} is solved\n")
    return explain(drills, drill)


def hint(drills: Drills) -> int:
    """Print the file, then the function, then the lines of the mistake."""
    drill = drills.must_be_open()
    opened = min(3, drill["hints"] + 1)
    drills.update(drill["number"], hints=opened)
    mutant = drills.mutants[drill["mistake"]]
    original = (next((drills.package / "src").glob("*/__init__.py")).parent / mutant.file).read_text(encoding="utf-8")
    planted = original.replace(mutant.old, mutant.new)
    common = len(commonprefix(original, planted))
    line = planted.count("\n", 0, common) + 1
    texts = [
        f"the mistake is in {relative(drills.file(drill))}",
        f"it is in {function_around(planted, line)}",
        f"it is near line {line}",
    ]
    for number, text in enumerate(texts[:opened], 1):
        print(f"hint {number} of 3: {text}")
    return 0


def commonprefix(a: str, b: str) -> str:
    """Return the longest common start of two texts."""
    end = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:end]


def reveal(drills: Drills) -> int:
    """Give the open drill up: print the difference and the explanation."""
    drill = drills.must_be_open()
    drills.update(drill["number"], state="revealed")
    return explain(drills, drill)


def explain(drills: Drills, drill: dict[str, Any]) -> int:
    """Print the mistake: its difference, why people make it, what detects it, where it was made."""
    mutant = drills.mutants[drill["mistake"]]
    print(f"the mistake: {mutant.mistake}")
    print(f"why it is common: {mutant.why}")
    print(f"detected by: {', '.join(tests_of(mutant)) or 'the whole suite'} (packages/{drills.name}/tests)")
    if mutant.link:
        print(f"made in public: {mutant.link}")
    path = next((drills.package / "src").glob("*/__init__.py")).parent / mutant.file
    original = path.read_text(encoding="utf-8")
    planted = original.replace(mutant.old, mutant.new)
    names = ("planted", f"packages/{drills.name}/src/{path.parent.name}/{mutant.file}")
    print("\n".join(difflib.unified_diff(planted.splitlines(), original.splitlines(), *names, lineterm="", n=2)))
    return 0


def show_list(drills: Drills) -> int:
    """Print the drills so far, and how many mistakes of each level are left."""
    for drill in drills.state():
        mutant = drills.mutants.get(drill["mistake"])
        if mutant is not None:
            name = "" if drill["state"] == "open" else f"  {mutant.mistake}"
            print(f"{drill['number']:>3}  {drill['state']:8}  level {mutant.level}{name}")
    done = {d["mistake"] for d in drills.state()}
    for level, meaning in LEVELS.items():
        keys = [key for key, mutant in drills.mutants.items() if mutant.level == level]
        print(f"level {level} ({meaning}): {len([k for k in keys if k not in done])} of {len(keys)} left")
    return 0


def packages() -> list[str]:
    """Return the names of the packages that have drills."""
    return [path.parent.parent.name for path in sorted(ROOT.glob("packages/*/tests/drills.py"))]


def main(arguments: list[str]) -> int:
    """Carry out one command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="drill", description="Find and repair a mistake from its symptoms.")
    parser.add_argument("name", choices=packages(), help="The package.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--level", type=int, choices=sorted(LEVELS), help="Plant a new mistake of this level.")
    action.add_argument("--new", action="store_true", help="Plant a new mistake; the open drill stays where it is.")
    action.add_argument("--check", action="store_true", help="Run the suite on your repair.")
    action.add_argument("--hint", action="store_true", help="One more hint.")
    action.add_argument("--reveal", action="store_true", help="Show the mistake.")
    action.add_argument("--list", action="store_true", help="List the drills.")
    options = parser.parse_args(arguments)
    drills = Drills(options.name)
    try:
        for name, run in (("check", check), ("hint", hint), ("reveal", reveal), ("list", show_list)):
            if getattr(options, name):
                return run(drills)
        drill = None if options.new or options.level else drills.open_drill()
        return show(drills, drill or drills.plant(options.level))
    except DrillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
