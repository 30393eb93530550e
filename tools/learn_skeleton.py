"""Skeletons from source: bodies of teaching functions out, and back in. Everything else stays as it is, to the byte.

The rule: a teaching function keeps its signature and docstring, and its body is replaced by
`raise NotImplementedError("stage 3: name")`. A private helper that nothing else uses any longer is left out, because it
would be the answer, unless `keep` of stages.toml names it. All other code is kept, the fast twins, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from learn_stages import LearnError, Stage, Target

Sources = dict[str, str]  # file below the module -> its text
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Span:
    """Where a function is in its file, as line numbers from 0: its first line, its body, the line after it."""

    start: int
    body: int
    stop: int
    indent: str
    node: Function

    def text(self, source: str) -> str:
        """Return the lines of the function."""
        return "".join(source.splitlines(keepends=True)[self.start : self.stop])


def functions_in(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield functions and methods with their names, `Class.method` for methods."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from functions_in(node, f"{prefix}{node.name}.")


def parsed(source: str, file: str) -> ast.Module:
    """Parse a file. Raises: LearnError that names the line of a syntax error."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise LearnError(f"{file}:{error.lineno}: {error.msg}. Correct it, then run the command again") from None


def span_of(source: str, target: Target) -> Span | None:
    """Return where a function is; the last one of that name, because overloads come before it. None: not there."""
    found = [node for name, node in functions_in(parsed(source, target.file)) if name == target.name]
    if not found:
        return None
    node = found[-1]
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
    documented = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
    last_kept = (node.body[0].end_lineno or 0) if documented else node.body[0].lineno - 1
    if last_kept < node.lineno or (len(node.body) == 1 and documented):
        raise LearnError(f"{target.file}: {target.name} must have its body on lines of its own, after its docstring")
    return Span(start, last_kept, node.end_lineno or 0, " " * node.body[0].col_offset, node)


def must_span(source: str, target: Target) -> Span:
    """Return where a function is. Raises: LearnError where it is not there."""
    span = span_of(source, target)
    if span is None:
        raise LearnError(f"{target.file} must define {target.name}, got no such function")
    return span


def replaced(source: str, span: Span, text: str) -> str:
    """Return the source with other lines in place of a function."""
    lines = source.splitlines(keepends=True)
    return "".join([*lines[: span.start], text, *lines[span.stop :]])


def stubbed(source: str, target: Target, message: str) -> str:
    """Return the source with the body of one function replaced by a NotImplementedError."""
    span = must_span(source, target)
    head = "".join(source.splitlines(keepends=True)[span.start : span.body])
    return replaced(source, span, f'{head}{span.indent}raise NotImplementedError("{message}")\n')


def is_stub(source: str, target: Target) -> bool:
    """Return whether nothing was written into a teaching function yet."""
    span = span_of(source, target)
    if span is None:
        return False
    body = span.node.body[1:] if len(span.node.body) > 1 else span.node.body
    return len(body) == 1 and isinstance(body[0], ast.Raise) and "NotImplementedError('stage" in ast.unparse(body[0])


def names_used(sources: Mapping[str, str]) -> set[str]:
    """Return every name that the code refers to: variables, attributes, imported names."""
    used = set()
    for file, text in sources.items():
        for node in ast.walk(parsed(text, file)):
            if isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.ImportFrom):
                used |= {alias.name for alias in node.names}
    return used


def skeleton(package: Sources, stages: Iterable[Stage], keep: Iterable[Target] = ()) -> tuple[Sources, list[Target]]:
    """Return the files with the bodies of all teaching functions removed, and the private helpers left out."""
    sources = dict(package)
    targets = {target: stage for stage in stages for target in stage.functions}
    for target, stage in targets.items():
        if target.file not in sources:
            raise LearnError(f"stage {stage.number}: {target.file} is not a file of the package")
        sources[target.file] = stubbed(sources[target.file], target, stage.stub(target))
    left_out: list[Target] = []
    before = names_used(package)
    files = sorted({target.file for target in targets})
    while True:
        unused = before - names_used(sources)
        helpers = [
            Target(file, name)
            for file in files
            for name, node in functions_in(parsed(sources[file], file))
            if node.name in unused and node.name.startswith("_") and not node.name.startswith("__")
        ]
        helpers = [helper for helper in helpers if helper not in {*targets, *keep}]
        if not helpers:
            return sources, left_out
        for helper in helpers:
            sources[helper.file] = without(sources[helper.file], helper)
        left_out += helpers


def without(source: str, target: Target) -> str:
    """Return the source without a function and the blank lines before it."""
    span = must_span(source, target)
    lines = source.splitlines(keepends=True)
    start = span.start
    while start > 0 and not lines[start - 1].strip():
        start -= 1
    return "".join([*lines[:start], *lines[span.stop :]])


def filled(learner: Sources, package: Sources, targets: Iterable[Target], left_out: Iterable[Target]) -> Sources:
    """Return the learner's files with the package's own code in some functions, and the helpers that it needs."""
    sources, touched = dict(learner), set()
    for target in targets:
        original = package[target.file]
        text = must_span(original, target).text(original)
        sources[target.file] = replaced(sources[target.file], must_span(sources[target.file], target), text)
        touched.add(target.file)
    for helper in left_out:
        if helper.file in touched and span_of(sources[helper.file], helper) is None:
            original = package[helper.file]
            sources[helper.file] = with_helper(sources[helper.file], helper, must_span(original, helper).text(original))
    return sources


def with_helper(source: str, helper: Target, text: str) -> str:
    """Return the source with a function added: at the end of its class, or of the file."""
    owner, _, _ = helper.name.rpartition(".")
    if not owner:
        return f"{source.rstrip()}\n\n\n{text}"
    classes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef) and n.name == owner]
    lines = source.splitlines(keepends=True)
    stop = classes[-1].end_lineno or 0
    return "".join([*lines[:stop], "\n", text, *lines[stop:]])
