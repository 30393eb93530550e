"""Checks that every package with drills passes. Its `tests/test_drills.py` imports them all:

from drill_checks import *  # noqa: F403
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import drill
import drill_symptoms
import mutation
import pytest

__all__ = [
    "drills",
    "test_a_drill_is_open_until_the_mistake_is_repaired",
    "test_every_drill_has_a_symptom",
    "test_every_explanation_belongs_to_a_mistake",
    "test_every_level_has_drills",
    "test_hints_name_the_file_and_the_function_of_the_mistake",
]


@pytest.fixture
def drills(request: pytest.FixtureRequest, tmp_path: Path) -> drill.Drills:
    """The package's drills, in a folder of the test."""
    return drill.Drills(Path(request.path).resolve().parent.parent.name, tmp_path / "drills")


def test_every_explanation_belongs_to_a_mistake(drills: drill.Drills) -> None:
    """An explanation without its mistake would never be shown."""
    mistakes = {mutant.mistake for mutant in mutation.listed(drills.package)}
    explained = mutation.explanations(drills.package)
    assert explained.keys() <= mistakes
    for about in explained.values():
        assert about.keys() <= {"level", "why", "link"}
        assert about["why"].endswith(".")
        assert about.get("link", "https://github.com/").startswith("https://github.com/")


def test_every_level_has_drills(drills: drill.Drills) -> None:
    """`--level N` finds a mistake for each N."""
    assert {mutant.level for mutant in drills.mutants.values()} == set(drill.LEVELS)


def test_hints_name_the_file_and_the_function_of_the_mistake(drills: drill.Drills, capsys: Any) -> None:
    """The three hints open one by one; a drill that is revealed is not open any more."""
    planted = drills.plant(level=1)
    mutant = drills.mutants[planted["mistake"]]
    for number in (1, 2, 3):
        drill.hint(drills)
        assert len(capsys.readouterr().out.splitlines()) == number
    drill.hint(drills)
    assert mutant.file in capsys.readouterr().out
    drill.reveal(drills)
    shown = capsys.readouterr().out
    assert mutant.mistake in shown
    assert mutant.why in shown
    with pytest.raises(drill.DrillError, match="no drill is open"):
        drill.check(drills)


@pytest.mark.slow
def test_a_drill_is_open_until_the_mistake_is_repaired(drills: drill.Drills, capsys: Any) -> None:
    """The suite fails on the planted copy, and passes once the line is right again."""
    planted = drills.plant(level=1)
    assert drill.check(drills) == 1
    assert drills.open_drill() == planted
    path = drills.file(planted)
    mutant = drills.mutants[planted["mistake"]]
    text = path.read_text(encoding="utf-8")
    original = next((drills.package / "src").glob("*/__init__.py")).parent / mutant.file
    assert text != original.read_text(encoding="utf-8")
    shutil.copyfile(original, path)
    capsys.readouterr()
    assert drill.check(drills) == 0
    assert f"drill {planted['number']} is solved" in capsys.readouterr().out
    assert drills.open_drill() is None


@pytest.mark.slow
def test_every_drill_has_a_symptom(drills: drill.Drills) -> None:
    """A mistake that no probe shows cannot be found from its symptoms."""
    runs = drill_symptoms.healthy(drills.package, drills.folder / "healthy.json", drills.version())
    without = []
    for mutant in drills.mutants.values():
        with tempfile.TemporaryDirectory() as temporary:
            source = Path(temporary) / "src"
            shutil.copytree(drills.package / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
            mutation.mutate(source, mutant)
            if not drill_symptoms.differing(runs, drill_symptoms.run_probes(drills.package, source, 0)):
                without.append(mutant.mistake)
    assert without == []
