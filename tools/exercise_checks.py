"""Exercises of a package: files `exercises/NN_name.py` with functions to fill in and a `check()`.

`exercise_checks.py [NAME ...]`: run the checks of all packages or of the named ones, and print which are correct. A
package's `tests/test_exercises.py` imports the tests below:

    from exercise_checks import *  # noqa: F403

They find `exercises/solutions/NN_name.py`, whose functions and classes must pass the check, and whose list WRONG holds
common wrong answers, each a dictionary of replacements, which must not.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

__all__ = [
    "pytest_generate_tests",
    "test_readme_lists_every_exercise",
    "test_solution_passes",
    "test_the_unsolved_exercise_is_not_done",
    "test_wrong_answers_are_rejected",
]

ROOT = Path(__file__).parent.parent


def exercises(package: Path) -> list[Path]:
    """The exercises of a package in their order."""
    return sorted((package / "exercises").glob("[0-9][0-9]_*.py"))


def load(path: Path) -> ModuleType:
    """A new module from a file, whatever its name."""
    name = f"{path.parent.parent.name}_{path.parent.name}_{path.stem}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(module: ModuleType) -> tuple[str, str]:
    """Run `check()`: correct, not done or wrong, and the sentence about what is wrong."""
    try:
        module.check()
    except NotImplementedError as error:
        return "not done", str(error)
    except AssertionError as error:
        return "wrong", str(error) or "an assertion failed"
    except Exception as error:  # a mistake in the reader's code
        return "wrong", f"{type(error).__name__}: {error}"
    return "correct", ""


def main(arguments: list[str]) -> int:
    """Print one line for each exercise. Exit status 1 unless all are correct, 2 for an unknown package."""
    packages = {p.parent.name: p.parent for p in sorted(ROOT.glob("packages/*/exercises"))}
    unknown = [name for name in arguments if name not in packages]
    if unknown:
        print(f"error: `name` must be one of {', '.join(packages)}, got {unknown[0]!r}", file=sys.stderr)
        return 2
    states = []
    for name in arguments or packages:
        for path in exercises(packages[name]):
            state, sentence = result(load(path))
            states.append(state)
            print(f"{name} {path.stem:28} {state}{': ' + sentence if sentence else ''}", flush=True)
    print(f"{states.count('correct')} of {len(states)} exercises are correct")
    return 0 if states.count("correct") == len(states) else 1


# ------------------------------------------------------------------------------------------------ tests


def _is_answer(name: str, value: object, solution: ModuleType) -> bool:
    """Whether a name is a function or a class that the solution defines, and not a helper of its wrong answers."""
    return not name.startswith("_") and getattr(value, "__module__", "") == solution.__name__


def solved(path: Path) -> tuple[ModuleType, ModuleType]:
    """An exercise with the solution's functions in place of its own, and the solution."""
    exercise, solution = load(path), load(path.parent / "solutions" / path.name)
    answers = {n: v for n, v in vars(solution).items() if _is_answer(n, v, solution)}
    assert answers, f"{path.stem}: the solution defines nothing"
    assert set(answers) <= set(vars(exercise)), f"{path.stem}: the exercise lacks what the solution defines"
    vars(exercise).update(answers)
    return exercise, solution


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each exercise of the package."""
    if "exercise" in metafunc.fixturenames:
        found = exercises(Path(metafunc.module.__file__).parent.parent)
        metafunc.parametrize("exercise", found, ids=[path.stem for path in found])


def test_the_unsolved_exercise_is_not_done(exercise: Path) -> None:
    """What a reader gets says which function is to be written."""
    state, sentence = result(load(exercise))
    assert state == "not done"
    assert sentence.startswith(f"exercise {int(exercise.stem[:2])}: ")


def test_solution_passes(exercise: Path) -> None:
    """The solution is correct."""
    assert result(solved(exercise)[0]) == ("correct", "")


def test_wrong_answers_are_rejected(exercise: Path) -> None:
    """Each wrong answer fails with a sentence."""
    wrong = solved(exercise)[1].WRONG
    assert wrong
    for replacements in wrong:
        module = solved(exercise)[0]
        vars(module).update(replacements)
        state, sentence = result(module)
        assert state == "wrong", replacements
        assert sentence


def test_readme_lists_every_exercise(exercise: Path) -> None:
    """The README links the file, and numbers it as its name does."""
    readme = (exercise.parent.parent / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^{int(exercise.stem[:2])}\. .*\(exercises/{exercise.name}\)", readme, re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
