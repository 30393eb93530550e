"""Checks that every package passes. A package's `tests/test_package.py` imports them all:

    from package_checks import *  # noqa: F403

They find the package by the folder of that file: its metadata, README, doctests, mutants, and every command of its
command line.
"""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import io
import os
import pkgutil
import re
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import alone
import mutation
import pytest
import readme_blocks

__all__ = [
    "package",
    "pytest_generate_tests",
    "test_a_closed_pipe_is_silent",
    "test_bad_values_are_one_error_line",
    "test_changelog_names_this_version",
    "test_ctrl_c_during_start_up_is_one_line",
    "test_doctests_pass",
    "test_each_mutant_applies_exactly_once",
    "test_help_is_for_users",
    "test_one_error_line_in_a_real_process_in_any_locale",
    "test_the_command_line_imports_nothing_heavy",
    "test_nothing_else_of_ours_is_installed",
    "test_public_names_are_visible",
    "test_readme_blocks_run",
    "test_unknown_commands_and_options_are_one_error_line",
    "test_version_is_printed",
]

# What a help text must not show: Python's types and values, comments for tools, modules, paths of the implementation.
INTERNALS = re.compile(
    r"\{None|None\}|default: None|<class|PosixPath|Annotated|Literal\[|Optional\[|Union\[|type: ignore|noqa|__\w+__"
    r"|default: \)|default: ''|\[\[|tyro|\bSTR \[STR"
)


@dataclasses.dataclass(frozen=True)
class Package:
    """One package: its folder, distribution, import name, and console script."""

    folder: Path
    distribution: str
    module: str
    script: str

    @property
    def commands(self) -> dict[str, Any]:
        """The commands of its command line."""
        found: dict[str, Any] = importlib.import_module(f"{self.module}.cli").COMMANDS
        return found


@cache
def package_of(folder: Path) -> Package:
    """The package in a folder."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (init,) = folder.glob("src/*/__init__.py")
    return Package(folder, project["name"], init.parent.name, next(iter(project["scripts"])))


@pytest.fixture(scope="module")
def package(request: pytest.FixtureRequest) -> Package:
    """The package that the importing test file belongs to."""
    return package_of(Path(request.path).parent.parent)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each mutant and for each command."""
    folder = Path(metafunc.module.__file__).parent.parent
    if "mutant" in metafunc.fixturenames:
        has_list = (folder / "tests" / "mutants.py").exists()
        mutants = mutation.listed(folder) if has_list else []
        metafunc.parametrize("mutant", mutants, ids=[m.mistake.replace(" ", "-") for m in mutants])
    if "command" in metafunc.fixturenames:
        metafunc.parametrize("command", list(package_of(folder).commands))


def run(package: Package, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command line of the package in a process of its own."""
    options.setdefault("stdin", subprocess.DEVNULL)
    command = [sys.executable, "-m", package.module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, **options)


def call(package: Package, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which is faster; only for arguments with which no command starts."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [package.script, *arguments])
        patch.setenv("COLUMNS", "300")
        try:
            importlib.import_module(f"{package.module}.cli").main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return subprocess.CompletedProcess([*arguments], status, out.getvalue(), err.getvalue())


def assert_one_error_line(done: subprocess.CompletedProcess[str]) -> None:
    """One line `error: …` on stderr, status 2, nothing on stdout, no internals."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not re.search(r"Traceback|__tyro|tyro|dummy|<class|Error parsing|[│╭╰]", done.stderr), done.stderr


def pages_of(package: Package, command: str) -> list[list[str]]:
    """The arguments that lead to the options of a command: its name, and the name of each preset."""
    presets = getattr(package.commands[command], "values", None)
    return [[command]] if presets is None else [[command, preset] for preset in presets]


# ----------------------------------------------------------------------------------------------- the package


@pytest.mark.skipif(not alone.expected_alone(), reason="only `nox -s tests` makes an environment for one package")
def test_nothing_else_of_ours_is_installed(package: Package) -> None:
    """A package is tested without its siblings."""
    assert alone.siblings_in_sight(package.distribution) == []


def test_changelog_names_this_version(package: Package) -> None:
    """Metadata, `__version__` and the changelog agree."""
    version = metadata.version(package.distribution)
    assert f"## {version}" in (package.folder / "CHANGELOG.md").read_text(encoding="utf-8")
    assert importlib.import_module(package.module).__version__ == version


def test_public_names_are_visible(package: Package) -> None:
    """Tab completion shows the public names, and each can be imported."""
    module = importlib.import_module(package.module)
    assert module.__all__
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError):
        module.no_such_name  # noqa: B018


def test_readme_blocks_run(package: Package, tmp_path: Path) -> None:
    """Every block of the README that is marked as fast runs, in order, with no network."""
    assert readme_blocks.run_marked(package.folder / "README.md", tmp_path, slow=False)


def test_doctests_pass(package: Package) -> None:
    """The examples in docstrings are true."""
    top = importlib.import_module(package.module)
    names = [m.name for m in pkgutil.walk_packages(top.__path__, f"{package.module}.")]
    modules = [top, *(importlib.import_module(n) for n in names if not n.endswith("__main__"))]
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    results = [doctest.testmod(m, optionflags=flags) for m in modules]
    assert sum(r.failed for r in results) == 0
    own = sum(r.attempted for r, m in zip(results, modules, strict=True) if "_common" not in m.__name__)
    assert own > 0


def test_each_mutant_applies_exactly_once(package: Package, mutant: mutation.Mutant) -> None:
    """A mutant whose line has changed would end the weekly run."""
    text = (package.folder / "src" / package.module / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.old != mutant.new


# ------------------------------------------------------------------------------------------ the command line


def test_version_is_printed(package: Package) -> None:
    """`--version` is the name of the script and the version of the distribution."""
    done = run(package, "--version")
    assert done.stdout == f"{package.script} {metadata.version(package.distribution)}\n"
    assert done.returncode == 0


def test_help_is_for_users(package: Package, command: str) -> None:
    """Help names each option with a sentence, has an example, and shows nothing of the implementation."""
    top = call(package, "--help").stdout
    assert re.search(rf"^  {command} +\S.*\.$", top, re.MULTILINE), top
    assert not INTERNALS.search(top)
    pages = pages_of(package, command)
    if len(pages[0]) > 1:
        listed = call(package, command, "--help").stdout
        assert all(re.search(rf"^  {preset} +\S", listed, re.MULTILINE) for _, preset in pages), listed
    for page in pages:
        done = call(package, *page, "--help")
        assert done.returncode == 0, done
        assert f"Example: {package.script} " in done.stdout, done.stdout
        assert not INTERNALS.search(done.stdout), INTERNALS.findall(done.stdout)
        bare = re.findall(r"│ (--[\w-]+)[^│a-z]*(?:\{[^}]*\})? +\((?:default: [^)]*|required)\) *│", done.stdout)
        assert not bare, f"options without a description: {bare}"


def test_the_command_line_imports_nothing_heavy(package: Package) -> None:
    """`--help` answers in well under half a second, because torch and NumPy are imported by the commands."""
    code = f"import sys, {package.module}.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "matplotlib", "regex"} & set(done.stdout.split())


def test_unknown_commands_and_options_are_one_error_line(package: Package, command: str) -> None:
    """A misspelled command is answered with the nearest one."""
    wrong = call(package, command + "q")
    assert_one_error_line(wrong)
    assert f"Did you mean {command}?" in wrong.stderr
    for page in pages_of(package, command)[:1]:
        assert_one_error_line(call(package, *page, "--no-such-option", "1"))


def test_bad_values_are_one_error_line(package: Package, command: str) -> None:
    """Every numeric option refuses text and NaN, every choice refuses what is not one of its values."""
    for page in pages_of(package, command)[:1]:
        listed = call(package, *page, "--help").stdout
        for option, metavar in re.findall(r"│ (--[\w-]+) (N|X|\{[^}]*\}) ", listed):
            for wrong in ("z", "nan") if metavar == "X" else ("z",):
                found = call(package, *page, option, wrong)
                assert_one_error_line(found)
                assert f"`{option[2:].replace('-', '_')}` must be " in found.stderr


def test_one_error_line_in_a_real_process_in_any_locale(package: Package, command: str) -> None:
    """Arguments, stdin and stdout are UTF-8 whatever the locale."""
    page = pages_of(package, command)[0]
    done = run(package, *page, "--größe", "1", env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"})
    assert_one_error_line(done)
    if "unknown options" in done.stderr:  # a command that lacks a required argument names that one first
        assert "größe" in done.stderr
    assert "\\udc" not in done.stderr


def test_a_closed_pipe_is_silent(package: Package) -> None:
    """`… | head` ends without a traceback."""
    if os.name != "posix":
        pytest.skip("needs a POSIX shell")
    line = f"{sys.executable} -m {package.module} --help | head -c 0"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("delay", [0.02, 0.06, 0.12, 0.2])
def test_ctrl_c_during_start_up_is_one_line(package: Package, delay: float) -> None:
    """Ctrl-C while a command imports what it needs is one line and status 130, unless the command had ended."""
    if os.name != "posix":
        pytest.skip("needs POSIX signals")
    command = pages_of(package, next(iter(package.commands)))[0]
    code = (
        f"import {package.module}.__main__ as m, sys; sys.argv = {['x', *command, '--help']!r}; "
        "print('started', flush=True); m.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) in {(130, "interrupted\n"), (0, ""), (-signal.SIGINT, "")}
