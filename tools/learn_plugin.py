"""A pytest plugin for learners: each failing check as one sentence, written to the file that $LEARN_REPORT names.

`run_checks` is the other half: it runs tests of a package on another copy of its source and reads that file.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SECONDS = 600


@dataclass(frozen=True)
class Check:
    """One test, by its id: whether it passed, and otherwise a sentence that says what differs."""

    test: str
    passed: bool
    detail: str

    @property
    def sentence(self) -> str:
        """What the test says, in words, and what was found instead."""
        return f"{words(self.test)}: {self.detail}" if self.detail else words(self.test)


def words(test: str) -> str:
    """Return a test's name as words.

    >>> words("test_stages.py::test_rows_of_softmax_sum_to_1[float32]")
    'rows of softmax sum to 1 [float32]'
    """
    name, bracket, parameter = test.rpartition("::")[2].partition("[")
    return name.removeprefix("test_").replace("_", " ") + (f" [{parameter}" if bracket else "")


def run_checks(package: Path, source: Path, checks: Sequence[str], seconds: int = SECONDS) -> list[Check]:
    """Run tests of a package on the copy of its module in `source`. One result per check; of several parameters, the
    first that fails."""
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.json"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(source), str(ROOT / "tools")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": temporary,
            "LEARN_REPORT": str(report),
            "LEARN_SOURCE": str(source),
        }
        ids = [str(package / "tests" / check) for check in checks]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "learn_plugin", *ids]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return [Check(c, False, f"no result within {seconds} s. Is there a loop that never ends?") for c in checks]
        found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    results = []
    for check in checks:
        mine = {k: v for k, v in found.items() if k == check or k.startswith((f"{check}[", f"{check}::"))}
        failed = [key for key, detail in mine.items() if detail is not None]
        if failed:
            results.append(Check(failed[0], False, mine[failed[0]]))
        elif mine:
            results.append(Check(check, True, ""))
        else:
            results.append(Check(check, False, found.get("", last_line(done.stdout + done.stderr))))
    return results


def last_line(output: str) -> str:
    """Return the last line of an output that says what went wrong."""
    lines = [line for line in output.splitlines() if re.match(r"E  |ERROR|\w*Error", line)]
    return lines[-1].removeprefix("E").strip() if lines else "pytest gave no result"


# --------------------------------------------------------------------------------------- what pytest calls


_report: dict[str, str | None] = {}


def pytest_configure(config: Any) -> None:
    """Make NumPy's comparisons say in one line where two arrays differ."""
    import numpy as np

    for name in ("assert_allclose", "assert_array_equal"):
        original: Callable[..., None] = getattr(np.testing, name)
        setattr(np.testing, name, short(original))
    source = Path(os.environ["LEARN_SOURCE"])
    (module,) = [p.parent.name for p in source.glob("*/__init__.py")]
    try:
        found = Path(importlib.import_module(module).__file__ or "").resolve()
    except Exception:
        return  # collection says which line does not import
    if source.resolve() not in found.parents:
        raise RuntimeError(f"{module} must be imported from {source}, got {found}")


def short(original: Callable[..., None]) -> Callable[..., None]:
    """Wrap a comparison of arrays: its error is one line with the first index that differs."""

    def compare(actual: Any, desired: Any, *arguments: Any, **options: Any) -> None:
        try:
            original(actual, desired, *arguments, **options)
        except AssertionError:
            raise AssertionError(difference(actual, desired, options)) from None

    return compare


def difference(actual: Any, desired: Any, options: dict[str, Any]) -> str:
    """Return a sentence: where two arrays first differ, by how much, and in how many places."""
    import numpy as np

    what = options.get("err_msg") or "the result"
    ours, theirs = np.asarray(actual), np.asarray(desired)
    if ours.shape != theirs.shape and ours.size != 1 and theirs.size != 1:
        return f"{what} has the shape {ours.shape}, expected {theirs.shape}"
    ours, theirs = np.broadcast_arrays(ours, theirs)
    if ours.dtype.kind in "biufc" and theirs.dtype.kind in "biufc":
        wrong = ~np.isclose(ours, theirs, options.get("rtol", 1e-7), options.get("atol", 0), equal_nan=True)
    else:
        wrong = ours != theirs
    if not wrong.any():
        return f"{what} has the dtype {ours.dtype}, expected {theirs.dtype}"
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    place = f" at {list(first)}" if first else ""
    a, b = (f"{v[first]:.6g}" if v.dtype.kind in "fc" else str(v[first]) for v in (ours, theirs))
    share = f", {int(wrong.sum())} of {wrong.size} values differ" if wrong.size > 1 else ""
    return f"{what} differs{place}: got {a}, expected {b}{share}"


def sentence(error: BaseException, source: Path) -> str:
    """Return what an exception says about the learner's code, with its line there."""
    text = str(error).strip()
    if isinstance(error, NotImplementedError) and text.startswith("stage "):
        stage, _, name = text.partition(": ")
        return f"{name} ({stage}) is not implemented yet"
    first = text.splitlines()[0] if text else ""
    if isinstance(error, AssertionError):
        if found := re.search(r"Greatest absolute difference: (\S+) at index (\(.*?\))", text):
            return f"the result differs at {found[2]} by {found[1]}"
        return (
            first.removeprefix("assert ") and f"expected {first.removeprefix('assert ')}"
            if "assert " in first
            else first
        )
    place, trace = "", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if source in path.parents:
            place = f" at {path.relative_to(source)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}: {first}"


def pytest_exception_interact(node: Any, call: Any, report: Any) -> None:
    """Note the sentence of a failing test, or of a file that cannot be imported."""
    if call.excinfo is not None:
        name = key(node.nodeid) if "::" in node.nodeid else ""
        _report[name] = sentence(call.excinfo.value, Path(os.environ["LEARN_SOURCE"]))


def pytest_runtest_logreport(report: Any) -> None:
    """Note a test that passed or was skipped."""
    if report.when == "call" or report.failed or report.skipped:
        _report.setdefault(key(report.nodeid), None if report.passed or report.skipped else "it fails")


def pytest_sessionfinish(session: Any) -> None:
    """Write the report."""
    Path(os.environ["LEARN_REPORT"]).write_text(json.dumps(_report), encoding="utf-8")


def key(node: str) -> str:
    """Return a test's id as stages.toml writes it, without the folder."""
    return node.rpartition("/tests/")[2] or node
