"""The stages of a learning track: what `packages/NAME/tests/stages.toml` declares, read and checked.

    [[stage]]
    title = "Softmax and its gradient"
    paper = "section 3.2.1, inside Eq. (1)"
    read = "notebooks/1-transformer-numpy.ipynb, part 2"
    functions = ["functional.py: softmax", "attention.py: MultiHeadAttention.forward"]
    checks = ["test_stages.py::test_rows_of_softmax_sum_to_1"]
    hints = ["the idea", "the equations with their shapes", "nearly the code"]

`keep = ["file.py: _helper"]` before the first stage names private helpers that are not left out (learn_skeleton.py).
A stage without functions runs the package's demo: `demo = ["demo", "--steps", "20"]` instead of `checks`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEYS = {"title", "paper", "read", "functions", "checks", "hints", "demo"}


class LearnError(Exception):
    """Raised for what the user can correct; the text is one sentence that says how."""


@dataclass(frozen=True, order=True)
class Target:
    """A teaching function: the file below the module, and the function or `Class.method` in it."""

    file: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `file.py: name`. Raises: LearnError for anything else."""
        file, separator, name = text.partition(": ")
        if not separator or not file.endswith(".py") or not name:
            raise LearnError(f"a function must be written `file.py: name`, got {text!r}")
        return cls(file, name)


@dataclass(frozen=True)
class Stage:
    """One stage: what to implement, what to read, which tests check it, three hints; or a command of the package."""

    number: int
    title: str
    paper: str
    read: str
    functions: tuple[Target, ...]
    checks: tuple[str, ...]
    hints: tuple[str, ...]
    demo: tuple[str, ...]

    def stub(self, target: Target) -> str:
        """Return the message that the body of a teaching function raises."""
        return f"stage {self.number}: {target.name.rpartition('.')[2]}"


def path_of(package: Path) -> Path:
    """Return the file that declares a package's stages."""
    return package / "tests" / "stages.toml"


def tracks() -> list[str]:
    """Return the names of the packages that have a learning track."""
    return [path.parent.parent.name for path in sorted(ROOT.glob("packages/*/tests/stages.toml"))]


def stages_of(package: Path) -> list[Stage]:
    """Read the stages of a package. Raises: LearnError for a file that declares none, or that lacks a part."""
    path = path_of(package)
    if not path.exists():
        raise LearnError(f"{package.name} has no learning track. Packages with one: {', '.join(tracks())}")
    found = []
    declared = tomllib.loads(path.read_text(encoding="utf-8"))
    if set(declared) - {"keep"} != {"stage"}:
        raise LearnError(f"{path.name}: must hold stages and at most `keep`, got {sorted(declared)}")
    for number, table in enumerate(declared["stage"], 1):
        wrong = set(table) - KEYS
        lacking = {"title", "paper", "read", "hints"} - set(table)
        if wrong or lacking or (("demo" in table) == ("functions" in table)):
            raise LearnError(f"{path.name}, stage {number}: unknown {sorted(wrong)}, missing {sorted(lacking)}")
        if len(table["hints"]) != 3 or ("functions" in table) != ("checks" in table):
            raise LearnError(f"{path.name}, stage {number}: must have three hints, and checks for its functions")
        functions = tuple(Target.parse(text) for text in table.get("functions", ()))
        checks, hints, demo = (tuple(table.get(key, ())) for key in ("checks", "hints", "demo"))
        found.append(Stage(number, table["title"], table["paper"], table["read"], functions, checks, hints, demo))
    targets = [target for stage in found for target in stage.functions]
    if len(set(targets)) != len(targets):
        raise LearnError(f"{path.name}: a function belongs to two stages")
    return found


def kept_helpers(package: Path) -> list[Target]:
    """Read which private helpers stay in the skeleton though only teaching functions use them."""
    declared = tomllib.loads(path_of(package).read_text(encoding="utf-8"))
    return [Target.parse(text) for text in declared.get("keep", ())]
