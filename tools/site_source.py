"""Pages that are made from source code: annotated modules, textbook and fast twins, the API reference, mistakes."""

from __future__ import annotations

import ast
import difflib
import importlib
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mutation
from site_docstrings import to_rst
from site_tree import ROOT, Definition, Module, Package, SiteError, assigned, definitions, first_sentence
from tables import shown

SHORT_CLASS = 24
"""Lines up to which a class is shown whole, its methods with it."""


def heading(text: str, mark: str = "=") -> list[str]:
    """A heading."""
    return [text, mark * len(text.encode()), ""]


def indented(lines: list[str], by: int = 3) -> list[str]:
    """Lines below a directive."""
    return [" " * by + line if line else "" for line in lines]


def directive(name: str, argument: str, content: list[str], **options: str) -> list[str]:
    """A directive with its content."""
    head = [f".. {name}:: {argument}".rstrip(), *(f"   :{key}: {value}" for key, value in options.items())]
    return [*head, "", *indented(content), ""]


def docstring(text: str, equation: str | None = None) -> list[str]:
    """A docstring as reStructuredText for a page of prose; the equation follows its first paragraph."""
    from sphinx.ext import napoleon  # not at the top: the tests of these tools do without Sphinx where they can
    from sphinx.ext.napoleon.docstring import GoogleDocstring

    settings: Any = napoleon.Config(napoleon_use_param=False, napoleon_use_rtype=False)
    lines = str(GoogleDocstring(to_rst(text), settings)).splitlines()
    if equation is None:
        return lines
    end = lines.index("") if "" in lines else len(lines)
    return [*lines[:end], "", *directive("math", "", equation.strip().splitlines()), *lines[end:]]


# ------------------------------------------------------------------------------------------ annotated source


@dataclass(frozen=True)
class Part:
    """A piece of a module: its heading, its docstring, its source without the docstring."""

    title: str
    text: str
    code: str


def source_of(lines: list[str], first: int, last: int, *without: ast.stmt | None) -> str:
    """Lines of a file, from 1, without some statements, moved to the left margin."""
    dropped = {n for node in without if node is not None for n in range(node.lineno, (node.end_lineno or 0) + 1)}
    kept = [line for number, line in enumerate(lines[first - 1 : last], start=first) if number not in dropped]
    return textwrap.dedent("\n".join(kept)).strip("\n")


def docstring_node(node: ast.Module | Definition) -> ast.stmt | None:
    """The statement that is the docstring, unless it is all that the body has."""
    return node.body[0] if ast.get_docstring(node) and (isinstance(node, ast.Module) or len(node.body) > 1) else None


def start_of(node: ast.stmt, lines: list[str]) -> int:
    """The first line of a statement, with its decorators and the comments right above."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    while first > 1 and lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return first


def parts_of(module: Module) -> Iterator[Part]:
    """A module in the order of its file."""
    lines = module.path.read_text(encoding="utf-8").splitlines()
    body = module.tree.body[1:] if docstring_node(module.tree) else module.tree.body
    groups: list[list[ast.stmt]] = []
    for node in body:
        if isinstance(node, Definition) or not groups or isinstance(groups[-1][0], Definition):
            groups.append([node])
        else:
            groups[-1].append(node)
    head = ast.get_docstring(module.tree) or ""
    if not groups or isinstance(groups[0][0], Definition):
        yield Part("", head, "")
    for number, group in enumerate(groups):
        node = group[0]
        if isinstance(node, ast.ClassDef):
            yield from parts_of_class(node, lines)
        elif isinstance(node, Definition):
            code = source_of(lines, start_of(node, lines), node.end_lineno or 0, docstring_node(node))
            yield Part(node.name, ast.get_docstring(node) or "", code)
        else:
            code = source_of(lines, start_of(node, lines), group[-1].end_lineno or 0)
            names = [name for statement in group for name in assigned(statement)]
            title = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            yield Part("" if number == 0 else title or "…", head if number == 0 else "", code)


def parts_of_class(node: ast.ClassDef, lines: list[str]) -> Iterator[Part]:
    """A class: whole if it is short, otherwise its fields, then each method."""
    first, last, text = start_of(node, lines), node.end_lineno or 0, ast.get_docstring(node) or ""
    methods = [n for n in node.body if isinstance(n, Definition)]
    if last - first < SHORT_CLASS or not methods:
        yield Part(node.name, text, source_of(lines, first, last, docstring_node(node)))
        return
    yield Part(node.name, text, source_of(lines, first, start_of(methods[0], lines) - 1, docstring_node(node)))
    for number, method in enumerate(methods):
        until = start_of(methods[number + 1], lines) - 1 if number + 1 < len(methods) else last
        code = source_of(lines, start_of(method, lines), until, docstring_node(method))
        yield Part(f"{node.name}.{method.name}", ast.get_docstring(method) or "", code)


def equations(package: Package) -> dict[str, str]:
    """The equations of a package, by the full name of the object; an object that does not exist is an error."""
    found = {}
    for name, tex in package.teaching.get("equations", {}).items():
        module, _ = package.find(name)
        found[f"{module.name}.{name.partition(':')[2]}"] = tex
    return found


def beside(part: Part, equation: str | None) -> list[str]:
    """Text and code of a part, which the style sheet sets side by side."""
    text = docstring(part.text, equation) if part.text or equation else []
    left = directive("container", "beside-text", text) if text else []
    right = directive("container", "beside-code", directive("code-block", "python", part.code.splitlines()))
    return left + (right if part.code else [])


def annotated_page(package: Package, module: Module, links: list[str]) -> list[str]:
    """A module with its text on the left and its source on the right."""
    known = equations(package)
    out = heading(module.path.relative_to(package.source).as_posix())
    out += [" · ".join(links), ""]
    for part in parts_of(module):
        if part.title:
            out += heading(f"``{part.title}``" if part.title != "…" else "…", "-")
        else:
            out += heading("Module", "-")
        out += beside(part, known.get(f"{module.name}.{part.title}"))
    return out


# ------------------------------------------------------------------------------------------ textbook and fast


def measured(package: Package, entry: dict[str, Any]) -> str:
    """The speedup of a twin, from the recorded files that docs/site/teaching.toml names."""

    def cell(reference: list[str]) -> float:
        file, row, column = reference
        rows = json.loads((package.folder / "results" / file).read_text(encoding="utf-8"))["rows"]
        for found in rows:
            if row in found.values() and isinstance(found.get(column), int | float):
                return float(found[column])
        raise SiteError(f"docs/site/teaching.toml: results/{file} has no number in a row {row!r}, column {column!r}")

    if "speedup" in entry:
        value = cell(entry["speedup"])
    elif "fast_throughput" in entry:
        value = cell(entry["fast_throughput"]) / cell(entry["textbook_throughput"])
    elif "fast_time" in entry:
        value = cell(entry["textbook_time"]) / cell(entry["fast_time"])
    else:
        return ""
    return f"Measured speedup: **{shown(float(f'{value:.3g}'))}×**, {entry['measured']}."


def twin_sides(package: Package, names: list[str]) -> list[str]:
    """The source of the objects of one side."""
    out = []
    for name in names:
        module, node = package.find(name)
        lines = module.path.read_text(encoding="utf-8").splitlines()
        code = source_of(lines, start_of(node, lines), node.end_lineno or 0, docstring_node(node))
        out += [f":py:obj:`{module.name}.{name.partition(':')[2]}`", ""]
        out += docstring(first_sentence(node))
        out += ["", *directive("code-block", "python", code.splitlines())]
    return out


def twins_page(package: Package) -> list[str]:
    """Each idea of a package twice: as a textbook has it, and fast."""
    out = heading(f"{package.name}: textbook and fast twins")
    out += ["Left: the version to read. Right: the version that runs where speed counts. Tests hold the two equal.", ""]
    for twin in package.teaching["twins"]:
        out += heading(twin["title"], "-")
        out += [twin["text"], ""]
        if speed := measured(package, twin):
            out += [speed, ""]
        sides = []
        for label, key in (("Textbook", "textbook"), ("Fast", "fast")):
            content = [f"**{label}**", "", *twin_sides(package, twin[key])]
            sides += directive("container", "twin", content)
        out += directive("container", "twins", sides)
    return out


# ------------------------------------------------------------------------------------------ API reference


def public_names(package: Package) -> list[tuple[str, Module, Definition | None]]:
    """The names that `import package` gives, each with the module that defines it."""
    exported = importlib.import_module(package.source.name)
    defined: dict[str, list[tuple[Module, Definition | None]]] = {}
    for module in package.modules.values():
        for name, node in definitions(module.tree):
            defined.setdefault(name, []).append((module, node))
        for statement in module.tree.body:
            for name in assigned(statement):
                defined.setdefault(name, []).append((module, None))
    hints = getattr(exported, "_EXPORTS", {})
    found = []
    for name in exported.__all__:
        places = [
            p for p in defined.get(name, []) if p[0].path.parent != package.source or p[0].path.name != "__init__.py"
        ]
        hint = str(hints.get(name, "")).lstrip(".")
        places = [p for p in places if hint and p[0].name.endswith(hint)] or places
        if places and not name.startswith("__"):
            found.append((name, *places[0]))
    return found


def api_groups(package: Package) -> dict[str, list[Module]]:
    """The documented modules by page: one for each file, one for each folder."""
    groups: dict[str, list[Module]] = {}
    for module in package.documented:
        parts = module.name.split(".")[1:]
        if parts and (module.documented or module.path.name == "__init__.py"):
            groups.setdefault(parts[0], []).append(module)
    return {name: modules for name, modules in groups.items() if any(m.documented for m in modules)}


def api_index(package: Package) -> list[str]:
    """The public names of a package, then its modules."""
    top = package.source.name
    out = heading(f"{package.name}: API reference")
    module = package.modules[package.source / "__init__.py"]
    out += [".. py:module:: " + top, "", *docstring(ast.get_docstring(module.tree) or ""), ""]
    if names := public_names(package):
        out += heading(f"Names of ``{top}``", "-")
        out += [".. list-table::", "   :widths: 30 70", "   :class: names", ""]
        for name, where, node in names:
            first = " ".join(docstring(first_sentence(node))).strip() if node else ""
            out += [
                f"   * - :py:obj:`{name} <{where.name}.{name}>`",
                f"     - {first or f'See :py:mod:`{where.name}`.'}",
            ]
        out.append("")
    out += heading("Modules", "-")
    out += [".. toctree::", "   :maxdepth: 1", "", *(f"   {name} <{name}>" for name in api_groups(package)), ""]
    return out


def api_page(package: Package, name: str, modules: list[Module]) -> list[str]:
    """One page of the reference: a module, or a folder of modules."""
    top = f"{package.source.name}.{name}"
    out = heading(top)
    for module in modules:
        if module.name != top:
            if not module.documented:
                continue
            out += heading(module.name.partition(".")[2], "-")
        if module.path.name == "__init__.py" and not module.public:
            out += [f".. py:module:: {module.name}", "", *docstring(ast.get_docstring(module.tree) or ""), ""]
        else:
            out += [f".. automodule:: {module.name}", ""]
    return out


# ------------------------------------------------------------------------------------------ mistakes


def whole_lines(text: str, old: str, new: str) -> list[str]:
    """The changed lines of a file as a diff; an error if the old text is not there exactly once."""
    if text.count(old) != 1:
        raise ValueError(old)
    at = text.index(old)
    first, last = text.rfind("\n", 0, at) + 1, text.find("\n", at + len(old))
    before = text[first : last if last >= 0 else len(text)]
    after = before.replace(old, new)
    count = len(before.splitlines())
    both = textwrap.dedent("\n".join([*before.splitlines(), *after.splitlines()])).splitlines()
    wrong = [line for line in both[count:] if line.strip()]
    return [line.rstrip() for line in difflib.ndiff(both[:count], wrong) if not line.startswith("?")]


def mistakes_page(package: Package, problems: list[str]) -> list[str]:
    """The mistakes of tests/mutants.py: what goes wrong, the line, the file. Mutants that do not apply are problems."""
    mutants = mutation.listed(package.folder)
    out = heading(f"{package.name}: the classic mistakes")
    out += [
        f"{len(mutants)} mistakes, each a change to one place. The test suite fails for every one of them:",
        f'``nox -s "mutants({package.name})"`` applies them one at a time. Red is the right code, green the mistake.',
        "",
    ]
    files: dict[str, list[mutation.Mutant]] = {}
    for mutant in mutants:
        files.setdefault(mutant.file, []).append(mutant)
    for file, found in files.items():
        out += heading(f"``{file}``", "-")
        text = (package.source / file).read_text(encoding="utf-8")
        for mutant in found:
            try:
                lines = whole_lines(text, mutant.old, mutant.new)
            except ValueError:
                where = (package.folder / "tests" / "mutants.py").relative_to(ROOT)
                problems.append(f"{where}: {mutant.old!r} does not occur exactly once in {file}")
                continue
            sentence = mutant.mistake[:1].upper() + mutant.mistake[1:].rstrip(".") + "."
            content = [*docstring(sentence), "", *directive("code-block", "diff", lines)]
            if mutant.why:
                content += [*docstring(mutant.why), ""]
            if mutant.link:
                content += [f"`Made in public <{mutant.link}>`__", ""]
            if mutant.tests:
                tests = ", ".join(f"``{name}``" for name in mutant.tests.split())
                content += [f"Detected by {tests}", ""]
            out += directive("container", "mistake", content)
    return out
