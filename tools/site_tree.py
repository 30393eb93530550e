"""The packages, modules, objects and links of the repository, for the documentation site. Found, never listed."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
IMAGES = {".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp"}
NOT_PUBLIC = ("_", "tests")  # parts of module names that start so are not documented
LINK = re.compile(r"(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)(?P<title>\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^\s*(```|~~~)")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class SiteError(Exception):
    """A page that cannot be made as the sources state it."""


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """The functions and classes of a module, and the methods as `Class.method`."""
    for node in tree.body:
        if isinstance(node, Definition):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, Definition):
                    yield f"{node.name}.{child.name}", child


def assigned(node: ast.stmt) -> list[str]:
    """The names that a statement gives values to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [t.id for t in targets if isinstance(t, ast.Name)]


def first_sentence(node: ast.Module | Definition) -> str:
    """The first paragraph of a docstring in one line."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


@dataclass(frozen=True)
class Module:
    """One Python file of a package."""

    name: str  # the import name
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return parsed(self.path)

    @cached_property
    def public(self) -> dict[str, Definition]:
        """Its documented public functions and classes."""
        found = {n.name: n for n in self.tree.body if isinstance(n, Definition)}
        return {name: n for name, n in found.items() if not name.startswith("_") and ast.get_docstring(n)}

    @property
    def documented(self) -> bool:
        """Whether the API reference has something to show of it."""
        return bool(self.public) or (self.path.name != "__init__.py" and bool(ast.get_docstring(self.tree)))


@dataclass(frozen=True)
class Package:
    """A folder with a pyproject.toml and one import package below src."""

    folder: Path
    teaching: dict[str, Any]  # its table in docs/site/teaching.toml

    @property
    def name(self) -> str:
        """The name of the folder, as texts use it."""
        return self.folder.name

    @cached_property
    def source(self) -> Path:
        """The folder of the import package."""
        return next(p.parent for p in sorted((self.folder / "src").glob("*/__init__.py")))

    def module(self, path: str) -> Module:
        """A module by its path below the import package, without .py; an error if there is none."""
        for file in (self.source / f"{path}.py", self.source / path / "__init__.py"):
            if file.is_file():
                return self.modules[file]
        raise SiteError(f"docs/site/teaching.toml: {self.name} has no module {path}")

    @cached_property
    def modules(self) -> dict[Path, Module]:
        """Every Python file of the package."""
        found = {}
        for file in sorted(self.source.rglob("*.py")):
            parts = file.relative_to(self.source.parent).with_suffix("").parts
            found[file] = Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), file)
        return found

    @cached_property
    def documented(self) -> list[Module]:
        """The modules of the API reference: all but private and internal ones, and `__main__`."""
        internal = [self.source / part for part in self.teaching.get("internal", [])]
        found = []
        for path, module in self.modules.items():
            private = any(part.startswith(NOT_PUBLIC) for part in path.relative_to(self.source).parts[:-1])
            hidden = path.name.startswith("_") and path.name != "__init__.py"
            if not (private or hidden or any(p in path.parents or path == p.with_suffix(".py") for p in internal)):
                found.append(module)
        return found

    @cached_property
    def aliases(self) -> set[str]:
        """The names of types that modules define: signatures show `Array`, not what it stands for."""
        found = set()
        for module in self.modules.values():
            for node in module.tree.body:
                if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
                    node.value, ast.Subscript | ast.BinOp | ast.Attribute
                ):
                    found |= {name for name in assigned(node) if name[:1].isupper() and not name.isupper()}
        return found

    def find(self, name: str) -> tuple[Module, Definition]:
        """An object by `path/of/module:name` or `path/of/module:Class.method`; an error if there is none."""
        path, _, wanted = name.partition(":")
        module = self.module(path)
        for found, node in definitions(module.tree):
            if found == wanted:
                return module, node
        raise SiteError(f"docs/site/teaching.toml: {module.path.relative_to(ROOT)} has no {wanted}")


def packages(root: Path = ROOT) -> list[Package]:
    """Every package, in the order of docs/site/teaching.toml, then those that it does not name."""
    teaching = tomllib.loads((root / "docs" / "site" / "teaching.toml").read_text(encoding="utf-8"))
    folders = {p.parent.name: p.parent for p in sorted(root.glob("packages/*/pyproject.toml"))}
    if (root / "shared" / "pyproject.toml").exists():
        folders["shared"] = root / "shared"
    if unknown := set(teaching) - set(folders):
        raise SiteError(f"docs/site/teaching.toml names {', '.join(sorted(unknown))}: not in packages/")
    names = [*teaching, *(name for name in folders if name not in teaching)]
    return [Package(folders[name], teaching.get(name, {})) for name in names]


def link_path(document: Path, target: str) -> Path | None:
    """The file that a relative link of a document names; None for an address or a place in the same page."""
    target = target.partition("#")[0]
    if not target or re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    return Path(os.path.normpath(document.parent / target))


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """A Markdown text with a change made to all that is outside fenced blocks."""
    parts: list[tuple[bool, list[str]]] = [(False, [])]
    fence = ""
    for line in text.splitlines(keepends=True):
        found = FENCE.match(line)
        if not fence and found:
            fence = found[1]
            parts.append((True, [line]))
        elif fence and line.strip() == fence:
            fence = ""
            parts[-1][1].append(line)
            parts.append((False, []))
        else:
            parts[-1][1].append(line)
    return "".join("".join(lines) if code else change("".join(lines)) for code, lines in parts)
