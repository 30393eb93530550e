"""For every suite: the files of real data and of reference values, and a record of what was skipped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.register_assert_rewrite("drill_checks", "exercise_checks", "package_checks", "run_checks", "stage_checks")

Finder = Callable[[str], Path]


def _finder(variable: str) -> Finder:
    def find(name: str) -> Path:
        folder = os.environ.get(variable)
        required = os.environ.get("DLPAPERS_REQUIRE_DATA") == "1"
        if not folder:
            reason = f"{variable} is not set"
        elif not (Path(folder) / name).exists():
            reason = f"{name} is not in {variable}"
        else:
            return Path(folder).resolve() / name
        if required:
            pytest.fail(f"DLPAPERS_REQUIRE_DATA=1, but {reason}")
        pytest.skip(reason)

    return find


@pytest.fixture(scope="session")
def data_file() -> Finder:
    """`data_file("text/names.txt")`: its path below $DLPAPERS_DATA_DIR; skips the test where it is not."""
    return _finder("DLPAPERS_DATA_DIR")


@pytest.fixture(scope="session")
def golden_file() -> Finder:
    """`golden_file("label_smoothing_a.json")`: its path below $DLPAPERS_GOLDEN_DIR; skips likewise."""
    return _finder("DLPAPERS_GOLDEN_DIR")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Append what was skipped to the file that DLPAPERS_SKIPPED names; nox shows all of it at its end."""
    if not (log := os.environ.get("DLPAPERS_SKIPPED")):
        return
    with Path(log).open("a", encoding="utf-8") as file:
        for report in terminalreporter.stats.get("skipped", []):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            file.write(f"{report.nodeid.partition('::')[0]}: {reason}\n")
