"""The learner's folder `learn/NAME`: made once, never overwritten. Every change to a file leaves a backup beside it.

learn/NAME/TASKS.md          the stages: what to implement, what to read
learn/NAME/src/MODULE/       the package with the bodies of its teaching functions removed: the learner's work
learn/NAME/progress.json     passed stages and opened hints
learn/NAME/backups/          what a file held before --reset changed it
"""

from __future__ import annotations

import difflib
import hashlib
import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from learn_skeleton import Sources, filled, is_stub, must_span, replaced, skeleton, span_of
from learn_stages import ROOT, LearnError, Stage, Target, kept_helpers, stages_of


def module_of(package: Path) -> Path:
    """Return the folder of a package's module."""
    return next(p.parent for p in (package / "src").glob("*/__init__.py"))


def sources_in(module: Path) -> Sources:
    """Read the Python files of a module."""
    files = sorted(p for p in module.rglob("*.py") if "__pycache__" not in p.parts)
    return {p.relative_to(module).as_posix(): p.read_text(encoding="utf-8") for p in files}


class Track:
    """A package's stages with the learner's copy of it."""

    def __init__(self, name: str, folder: Path | None = None, root: Path = ROOT) -> None:
        self.package = root / "packages" / name
        self.name = name
        self.stages = stages_of(self.package)
        self.folder = folder or root / "learn" / name
        original = module_of(self.package)
        self.module = self.folder / "src" / original.name
        self.original = sources_in(original)
        self.skeleton, self.left_out = skeleton(self.original, self.stages, kept_helpers(self.package))

    def create(self) -> bool:
        """Write the files that are not there yet; return whether the folder is new."""
        new = not self.module.exists()
        source = module_of(self.package)
        for path in sorted(source.rglob("*")):
            copy = self.module / path.relative_to(source)
            if path.is_file() and "__pycache__" not in path.parts and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                if path.suffix == ".py":
                    copy.write_text(self.skeleton[path.relative_to(source).as_posix()], encoding="utf-8")
                else:
                    shutil.copy(path, copy)
        tasks = self.folder / "TASKS.md"
        if not tasks.exists():
            tasks.write_text(self.tasks(), encoding="utf-8")
        if new:
            self.write_progress({"package": self.version(), "hints": {}, "passed": {}})
        return new

    # ------------------------------------------------------------------------------------------ progress

    def version(self) -> str:
        """Return a hash of the package's source, which tells whether it has changed since the folder was made."""
        return hashlib.sha256(json.dumps(self.original, sort_keys=True).encode()).hexdigest()[:16]

    def progress(self) -> dict[str, Any]:
        """Read the progress; an unreadable file counts as none, because it can be made again."""
        try:
            found = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
            return {"package": str(found["package"]), "hints": dict(found["hints"]), "passed": dict(found["passed"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {"package": self.version(), "hints": {}, "passed": {}}

    def write_progress(self, progress: dict[str, Any]) -> None:
        """Write the progress."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "progress.json").write_text(json.dumps(progress, indent=1) + "\n", encoding="utf-8")

    def has_passed(self, stage: Stage) -> bool:
        """Return whether the stage's checks passed and its functions are unchanged since."""
        return self.progress()["passed"].get(str(stage.number)) == self.digest(stage)

    def mark_passed(self, stage: Stage) -> None:
        """Remember that the stage's checks passed on its functions as they are."""
        progress = self.progress()
        progress["passed"][str(stage.number)] = self.digest(stage)
        self.write_progress(progress)

    def open_hint(self, stage: Stage) -> int:
        """Open one more hint of a stage; return how many are open."""
        progress = self.progress()
        opened = min(len(stage.hints), int(progress["hints"].get(str(stage.number), 0)) + 1)
        progress["hints"][str(stage.number)] = opened
        self.write_progress(progress)
        return opened

    def digest(self, stage: Stage) -> str:
        """Return a hash of the learner's functions of a stage."""
        learner = self.learner()
        parts = [must_span(learner[t.file], t).text(learner[t.file]) for t in self.present(learner, stage)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def current(self) -> Stage:
        """Return the first stage that has not passed; the last one if all have."""
        return next((stage for stage in self.stages if not self.has_passed(stage)), self.stages[-1])

    # ------------------------------------------------------------------------------------ the learner's code

    def learner(self) -> Sources:
        """Read the learner's files."""
        return sources_in(self.module)

    def present(self, learner: Sources, stage: Stage) -> list[Target]:
        """Return the functions of a stage. Raises: LearnError if the learner's files lack one."""
        for target in stage.functions:
            path = self.module / target.file
            if target.file not in learner or span_of(learner[target.file], target) is None:
                where = path.relative_to(self.folder.parent.parent)
                raise LearnError(f"{where} must define {target.name}. Move the file away to get a fresh one")
        return list(stage.functions)

    def place(self, target: Target) -> str:
        """Return `learn/NAME/src/…/file.py:12`, where a function starts in the learner's file."""
        learner = self.learner()
        span = must_span(learner[target.file], target)
        path = (self.module / target.file).relative_to(self.folder.parent.parent)
        return f"{path}:{span.node.lineno}"

    def untouched(self, stages: Iterable[Stage]) -> list[Target]:
        """Return the functions of these stages that still raise NotImplementedError."""
        learner = self.learner()
        return [t for stage in stages for t in self.present(learner, stage) if is_stub(learner[t.file], t)]

    def copy_for_checks(self, stage: Stage, into: Path) -> list[Target]:
        """Copy the learner's code, untouched earlier functions filled with the package's own; return those."""
        learner = self.learner()
        missing = self.untouched(self.stages[: stage.number - 1])
        shutil.copytree(self.module, into / self.module.name, ignore=shutil.ignore_patterns("__pycache__"))
        for file, text in filled(learner, self.original, missing, self.left_out).items():
            if text != learner[file]:
                (into / self.module.name / file).write_text(text, encoding="utf-8")
        return missing

    def reset(self, stage: Stage) -> list[Path]:
        """Remove the bodies of a stage's functions again; return the backups of the files that this changed."""
        learner, backups = self.learner(), []
        for file in dict.fromkeys(target.file for target in self.present(learner, stage)):
            text = learner[file]
            for target in (t for t in stage.functions if t.file == file):
                stub = must_span(self.skeleton[file], target).text(self.skeleton[file])
                text = replaced(text, must_span(text, target), stub)
            if text != learner[file]:
                backups.append(self.back_up(file))
                (self.module / file).write_text(text, encoding="utf-8")
        return backups

    def back_up(self, file: str) -> Path:
        """Copy a file of the learner to a new place below backups/."""
        stamp = time.strftime("%Y-%m-%d-%H%M%S")
        folders = (self.folder / "backups" / (stamp + end) for end in ("", *(f"-{i}" for i in range(2, 1000))))
        copy = next(path for folder in folders if not (path := folder / file).exists())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.module / file, copy)
        return copy

    def difference(self, stage: Stage) -> str:
        """Return a diff from the learner's functions of a stage to the package's, with the helpers left out."""
        parts: list[str] = []
        learner = self.learner()
        for target in self.present(learner, stage):
            mine, original = learner[target.file], self.original[target.file]
            ours, theirs = (must_span(text, target).text(text).splitlines() for text in (mine, original))
            places = (f"learn/{self.name}/{target.file}", f"packages/{self.name}/{target.file}")
            parts += difflib.unified_diff(ours, theirs, *places, lineterm="", n=100)
        files = {target.file for target in stage.functions}
        for helper in self.left_out:
            if helper.file in files and self.used_by(helper, stage):
                text = must_span(self.original[helper.file], helper).text(self.original[helper.file])
                parts += [f"+++ a helper in {helper.file}", *(f"+{line}" for line in text.splitlines())]
        return "\n".join(parts)

    def used_by(self, helper: Target, stage: Stage) -> bool:
        """Return whether a stage's functions call a helper, in the package's own code."""
        name = helper.name.rpartition(".")[2]
        same = [t for t in stage.functions if t.file == helper.file]
        return any(name in must_span(self.original[t.file], t).text(self.original[t.file]) for t in same)

    def tasks(self) -> str:
        """Return TASKS.md: every stage with what to implement and what to read."""
        lines = [
            f"# {self.name}: build it yourself\n",
            f"Write the bodies of the functions below in `src/{self.module.name}/`; you may add helpers. Signatures,",
            f'shapes and equations are in the docstrings. `nox -s "learn({self.name})"` checks the current stage.',
            "Options after `--`: `--hint`, `--stage N`, `--solution N`, `--reset N`, `--list`.\n",
        ]
        for stage in self.stages:
            lines += [f"## Stage {stage.number}: {stage.title}\n", f"Paper: {stage.paper}. Read: {stage.read}.\n"]
            lines += [f"- `{target.file}`: `{target.name}`" for target in stage.functions]
            lines += ["The package's demo on your own code."] if stage.demo else []
            lines.append("")
        return "\n".join(lines)
