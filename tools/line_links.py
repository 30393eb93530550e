"""Links from a README to the line that defines something: [`name`](path/file.py#L17). Moves each to where it is now.

`line_links.py` rewrites the root README; integration/test_house.py fails where a link is off its line.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[`(?P<name>\w+)`\]\((?P<path>[^)#\s]+\.py)#L\d+\)")


def line_of(name: str, source: Path) -> int:
    """Where a module defines a function or class; ValueError if it does not."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node.lineno
    raise ValueError(f"{source}: defines no {name}")


def rewritten(text: str, folder: Path) -> str:
    """The text with every such link at the right line; paths are relative to the folder."""

    def link(found: re.Match[str]) -> str:
        name, path = found["name"], found["path"]
        return f"[`{name}`]({path}#L{line_of(name, folder / path)})"

    return LINK.sub(link, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(rewritten(readme.read_text(encoding="utf-8"), ROOT), encoding="utf-8")
