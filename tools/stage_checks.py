"""Checks that every learning track passes. A package's `tests/test_learning.py` imports them all:

    from stage_checks import *  # noqa: F403

Every check of a stage fails before the stage is written, and passes with the package's own code in it, while all later
stages are still empty. So a stage asks for nothing that comes later, and no check passes by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import learn_plugin
import pytest
from learn_folder import Track
from learn_skeleton import filled
from learn_stages import Stage

__all__ = [
    "pytest_generate_tests",
    "test_a_learners_files_are_never_overwritten",
    "test_a_stage_is_red_before_and_green_after",
    "test_every_check_fails_in_an_empty_track",
    "test_the_demo_runs_on_the_filled_track",
    "test_the_first_stage_turns_green_with_the_packages_own_code",
    "track",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each stage that has functions."""
    if "stage" in metafunc.fixturenames:
        stages = [s for s in track_of(Path(metafunc.module.__file__ or "")).stages if s.functions]
        metafunc.parametrize("stage", stages, ids=[str(s.number) for s in stages])


def track_of(test_file: Path, folder: Path | None = None) -> Track:
    """Return the track of the package that a test file belongs to."""
    return Track(test_file.resolve().parent.parent.name, folder)


@pytest.fixture
def track(request: pytest.FixtureRequest, tmp_path: Path) -> Track:
    """The package's track with a new learner's folder."""
    made = track_of(Path(request.path), tmp_path / "learn" / "track")
    made.create()
    return made


def fill(track: Track, stages: list[Stage]) -> None:
    """Write the package's own code into stages, as a learner would."""
    targets = [target for stage in stages for target in stage.functions]
    for file, text in filled(track.learner(), track.original, targets, track.left_out).items():
        (track.module / file).write_text(text, encoding="utf-8")


def results(track: Track, checks: tuple[str, ...]) -> dict[str, learn_plugin.Check]:
    """Run checks on the learner's code as it is."""
    found = learn_plugin.run_checks(track.package, track.module.parent, checks)
    return dict(zip(checks, found, strict=True))


def test_every_check_fails_in_an_empty_track(track: Track) -> None:
    """A check that passes without the learner's code would tell nothing."""
    checks = tuple(dict.fromkeys(check for stage in track.stages for check in stage.checks))
    found = results(track, checks)
    assert [check for check, result in found.items() if result.passed] == []
    assert all("is not implemented yet" in result.sentence for result in found.values()), [
        result.sentence for result in found.values() if "is not implemented yet" not in result.sentence
    ]


def test_the_first_stage_turns_green_with_the_packages_own_code(track: Track) -> None:
    """The package's functions are one solution, whatever comes later."""
    fill(track, track.stages[:1])
    assert [r.sentence for r in results(track, track.stages[0].checks).values() if not r.passed] == []


@pytest.mark.slow
def test_a_stage_is_red_before_and_green_after(track: Track, stage: Stage) -> None:
    """With earlier stages written and later ones empty, each check depends on this stage and on no later one."""
    fill(track, track.stages[: stage.number - 1])
    assert [check for check, result in results(track, stage.checks).items() if result.passed] == []
    fill(track, [stage])
    assert [r.sentence for r in results(track, stage.checks).values() if not r.passed] == []


@pytest.mark.slow
def test_the_demo_runs_on_the_filled_track(track: Track) -> None:
    """The last stage runs the package's demo on what the stages before it made."""
    fill(track, track.stages)
    last = track.stages[-1]
    assert last.demo
    line = [sys.executable, "-m", track.module.name, *last.demo]
    environment = {**os.environ, "PYTHONPATH": str(track.module.parent)}
    done = subprocess.run(line, cwd=track.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_learners_files_are_never_overwritten(track: Track) -> None:
    """Creating again keeps every change; a reset keeps a copy of what it removes."""
    stage = track.stages[0]
    target = stage.functions[0]
    path = track.module / target.file
    empty = path.read_text(encoding="utf-8")
    fill(track, [stage])
    mine = path.read_text(encoding="utf-8") + "\n# mine\n"
    path.write_text(mine, encoding="utf-8")
    assert not track.create()
    assert path.read_text(encoding="utf-8") == mine
    assert track.untouched([stage]) == []
    backups = track.reset(stage)
    assert mine in [backup.read_text(encoding="utf-8") for backup in backups]
    assert path.read_text(encoding="utf-8").endswith("# mine\n")
    assert f'raise NotImplementedError("{stage.stub(target)}")' in path.read_text(encoding="utf-8")
    assert len(track.untouched([stage])) == len(stage.functions)
    assert track.reset(stage) == []
    path.unlink()
    track.create()
    assert path.read_text(encoding="utf-8") == empty
