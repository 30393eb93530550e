"""Build a package yourself: `learn.py NAME` checks the current stage of your own copy in `learn/NAME`.

    learn.py NAME                the checks of the current stage, and the first failing one as a sentence
    learn.py NAME --stage N      the checks of stage N; untouched earlier functions are the package's own
    learn.py NAME --hint [N]     one more hint of the current stage, or of stage N
    learn.py NAME --solution N   the difference between your code and the package's
    learn.py NAME --reset N      remove the bodies of stage N again; a backup of the file is kept
    learn.py NAME --list         every stage and whether it has passed

Exit status: 0 if all checks of the stage pass, 1 if not, 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from learn_folder import Track
from learn_plugin import Check, run_checks, words
from learn_stages import ROOT, LearnError, Stage, tracks


def main(arguments: list[str]) -> int:
    """Carry out one command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="learn", description="Build a package yourself, stage by stage.")
    parser.add_argument("name", choices=tracks(), help="The package to build.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--stage", type=int, metavar="N", help="Check stage N.")
    action.add_argument("--hint", type=int, metavar="N", nargs="?", const=0, help="Open one more hint of a stage.")
    action.add_argument("--solution", type=int, metavar="N", help="Compare your code with the package's.")
    action.add_argument("--reset", type=int, metavar="N", help="Remove the bodies of a stage again.")
    action.add_argument("--list", action="store_true", help="List the stages.")
    options = parser.parse_args(arguments)
    try:
        track = Track(options.name)
        if track.create():
            welcome(track)
        elif track.progress()["package"] != track.version():
            print(f"note: packages/{track.name} has changed since this folder was made. Your files stay as they are.")
        if options.list:
            return show_list(track)
        if options.hint is not None:
            return hint(track, numbered(track, options.hint) if options.hint else track.current())
        if options.solution is not None:
            return solution(track, numbered(track, options.solution))
        if options.reset is not None:
            return reset(track, numbered(track, options.reset))
        return check(track, track.current() if options.stage is None else numbered(track, options.stage))
    except LearnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def numbered(track: Track, number: int) -> Stage:
    """Return the stage of a number. Raises: LearnError if there is none."""
    if not 1 <= number <= len(track.stages):
        raise LearnError(f"`stage` must be from 1 to {len(track.stages)}, got {number}")
    return track.stages[number - 1]


def command(track: Track, option: str = "") -> str:
    """Return what the user types."""
    return f'nox -s "learn({track.name})"' + (f" -- {option}" if option else "")


def heading(track: Track, stage: Stage) -> str:
    """Return `stage 3 of 9`."""
    return f"stage {stage.number} of {len(track.stages)}"


def welcome(track: Track) -> None:
    """Say what the new folder holds."""
    count = sum(len(stage.functions) for stage in track.stages)
    print(f"{track.folder.relative_to(ROOT)} is new: {track.name} with the bodies of {count} functions removed.")
    print("Write them there, stage by stage. TASKS.md lists the stages. Your files are never overwritten.\n")


def task(track: Track, stage: Stage) -> None:
    """Print what a stage asks for."""
    print(f"{heading(track, stage)}: {stage.title} ({stage.paper})")
    print(f"  read: {stage.read}")
    for target in stage.functions:
        print(f"  write {target.name} in {track.place(target)}")


def check(track: Track, stage: Stage) -> int:
    """Run the checks of a stage, say how many pass, and the first that does not."""
    task(track, stage)
    learner = track.learner()
    track.present(learner, stage)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary).resolve()
        missing = track.copy_for_checks(stage, copy)
        if missing:
            names = ", ".join(target.name for target in missing[:3]) + (" …" if len(missing) > 3 else "")
            print(f"  (the package's own code is used for earlier functions that you have not written: {names})")
        if stage.demo:
            return run_demo(track, stage, copy, complete=not missing)
        results = run_checks(track.package, copy, stage.checks)
    return verdict(track, stage, results)


def verdict(track: Track, stage: Stage, results: list[Check]) -> int:
    """Print the results of a stage; remember it if all pass."""
    passed = sum(result.passed for result in results)
    print(f"\n{heading(track, stage)}: {passed} of {len(results)} checks pass")
    for result in results:
        print(f"  {'pass' if result.passed else 'FAIL'}  {words(result.test)}")
    if passed < len(results):
        first = next(result for result in results if not result.passed)
        print(f"\nfirst failing check: {first.sentence}")
        print(f"next: {command(track, f'--hint {stage.number}')}")
        return 1
    track.mark_passed(stage)
    follow = track.current()
    if track.has_passed(follow):
        print(f"\nall {len(track.stages)} stages are done")
    else:
        print("\nnext:")
        task(track, follow)
    return 0


def run_demo(track: Track, stage: Stage, source: Path, *, complete: bool) -> int:
    """Run the package's demo on the learner's code, with its files in `learn/NAME`."""
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    line = [sys.executable, "-m", track.module.name, *stage.demo]
    print(f"\n$ python -m {track.module.name} {' '.join(stage.demo)}\n", flush=True)
    done = subprocess.run(line, cwd=track.folder, env=environment, check=False)
    if done.returncode != 0:
        print(f"\n{heading(track, stage)}: the demo ended with status {done.returncode}")
        return 1
    if not complete:
        print(f"\n{heading(track, stage)}: the demo ran, in part on the package's own code")
        return 1
    track.mark_passed(stage)
    print(f"\n{heading(track, stage)}: the demo ran on your own code. All stages are done.")
    return 0


def hint(track: Track, stage: Stage) -> int:
    """Print the hints of a stage that are open, after opening one more."""
    opened = track.open_hint(stage)
    task(track, stage)
    for number, text in enumerate(stage.hints[:opened], 1):
        print(f"\nhint {number} of {len(stage.hints)}: {text.strip()}")
    if opened == len(stage.hints):
        print(f"\nthat was the last hint. The code: {command(track, f'--solution {stage.number}')}")
    return 0


def solution(track: Track, stage: Stage) -> int:
    """Print the difference between the learner's functions of a stage and the package's."""
    print(track.difference(stage) or "your code and the package's are the same")
    return 0


def reset(track: Track, stage: Stage) -> int:
    """Remove the bodies of a stage's functions."""
    backups = track.reset(stage)
    for path in backups:
        print(f"kept what you had: {path.relative_to(ROOT)}")
    print(f"{heading(track, stage)} is empty again" if backups else f"{heading(track, stage)} has nothing to remove")
    return 0


def show_list(track: Track) -> int:
    """Print each stage and whether it has passed."""
    for stage in track.stages:
        opened = track.progress()["hints"].get(str(stage.number), 0)
        state = "done" if track.has_passed(stage) else "open"
        print(f"{stage.number:>3}  {state}  {stage.title}" + (f"  ({opened} of 3 hints)" if opened else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
