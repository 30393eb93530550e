"""The same concept has the same name in every package: docs/vocabulary.toml lists the names and their meanings."""

import dataclasses
import importlib
import tomllib
import typing
from pathlib import Path

import package_checks
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = [p.parent for p in [ROOT / "shared" / "pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml"))]]
NAMES = tomllib.loads((ROOT / "docs" / "vocabulary.toml").read_text(encoding="utf-8"))
# what the names replace: a new paper must not bring them back
RETIRED = {
    "h", "n_vocab", "src_vocab", "tgt_vocab", "clip", "warmup", "valid_every", "smoothing", "max_tokens", "tied", "pad",
    "beam", "alpha", "length_penalty", "batch", "length", "evaluations", "checkpoints", "factor", "hold", "decay",
    "mfu", "checkpoint_blocks",
}  # fmt: skip

each_package = pytest.mark.parametrize("folder", PACKAGES, ids=lambda p: p.name)


def fields_of(kind, seen):
    """Names of a dataclass's fields and of those nested in it."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            seen |= fields_of(hints[field.name], seen)
        else:
            seen.add(field.name)
    return seen


def names_of(folder):
    """Every public configuration field and every option of a package."""
    package = package_checks.package_of(folder)
    found = set()
    for command in package.commands.values():
        kinds = {type(v) for _, v in command.values.values()} if hasattr(command, "values") else {command}
        for kind in kinds:
            found |= fields_of(kind, set())
    if (folder / "src" / package.module / "config.py").exists():
        config = importlib.import_module(f"{package.module}.config")
        for name, value in vars(config).items():
            if dataclasses.is_dataclass(value) and isinstance(value, type) and not name.startswith("_"):
                found |= fields_of(value, set())
    return found


@each_package
def test_every_field_and_option_is_in_the_vocabulary(folder):
    known = {name for section in NAMES.values() for name in section}
    assert sorted(names_of(folder) - known) == []


@each_package
def test_no_retired_name_comes_back(folder):
    exceptions = {"bpe": {"n_vocab"}, "lets-build-gpt": set()}.get(folder.name, set())
    assert names_of(folder) & RETIRED - exceptions == set()


def test_every_name_of_the_vocabulary_is_used_and_explained():
    used = set().union(*(names_of(folder) for folder in PACKAGES))
    for section in NAMES.values():
        for name, meaning in section.items():
            assert name in used, name
            assert meaning[0].isupper(), name
            assert meaning.endswith("."), name
