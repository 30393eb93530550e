"""Turn a docstring of this repository into reStructuredText.

Docstrings here are plain text with backticks, indented equations and Google-style sections. Read as
reStructuredText, `2 * x`, `h_` or an aligned block of equations would be markup. So prose is escaped, a name in
backticks becomes a reference (plain code if nothing of this name is documented), and an indented block after a
line that ends in a colon is shown as it stands.
"""

from __future__ import annotations

import inspect
import re

SECTIONS = ("Args", "Arguments", "Attributes", "Returns", "Yields", "Raises", "Example", "Examples", "Note", "Notes")
SECTION = re.compile(rf"(?:{'|'.join(SECTIONS)}):\s*$")
CODE = re.compile(r"``(.+?)``|`([^`\n]+)`")
NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\))?$")
ITEM = re.compile(r"(\s*)([-*•]|\d+[.)])\s+(.*)")
FIELD = re.compile(r"(\s*)([\w*, ]+?)( \(.*?\))?:(\s+.*)?$")

LABEL = re.compile(r"(\s*)((?:[A-Z][a-z]+(?: [a-z_]+){0,2}|[a-z_]\w*(?:, [a-z_]\w*)*)):(\s+\S.*)$")

MID_LINE = re.compile(r"(?<=[.)]) +(?=(?:Shapes|Returns|Raises|Cost|Numerics|Backward|Saved for backward): )")

KNOWN = (
    "Shapes",
    "Returns",
    "Raises",
    "Cost",
    "Numerics",
    "Backward",
    "Axes",
    "Letters",
    "Example",
    "Saved for backward",
)


def escaped(text: str) -> str:
    """Prose without anything that reStructuredText would take for markup."""
    return re.sub(r"([\\*|_<>])", r"\\\1", text)


def inline(text: str) -> str:
    """One or more lines of prose: code in backticks kept, all else escaped."""
    parts, end = [], 0
    for match in CODE.finditer(text):
        parts.append(escaped(text[end : match.start()]))
        code, end = (match[1] or match[2]).strip(), match.end()
        name = NAME.match(code)
        role = f":py:obj:`{code.removesuffix('()')}`" if name else ":code:`" + code.replace("\\", "\\\\") + "`"
        before = "" if not parts[-1] or parts[-1][-1] in " \n([" else "\\ "
        after = "" if not text[end : end + 1] or text[end] in " \n.,;:)]?!" else "\\ "
        parts.append(before + role + after)
    return "".join([*parts, escaped(text[end:]).replace("`", "\\`")])


def indent(line: str) -> int:
    """How far a line is indented; a large number for an empty one."""
    return len(line) - len(line.lstrip()) if line.strip() else 1 << 30


def blocks(lines: list[str]) -> list[list[str]]:
    """Lines in groups that empty lines separate."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def section(lines: list[str]) -> list[str]:
    """The body of a Google section: `name: text` and what continues it; napoleon reads the names."""
    out = []
    for line in lines:
        match = FIELD.match(line)
        if match and "`" not in match[2]:
            out.append(f"{match[1]}{match[2]}{match[3] or ''}:{inline(match[4] or '')}")
        else:
            out.append(" " * min(indent(line), 80) + inline(line.strip()) if line.strip() else "")
    return out


def split_labels(line: str) -> list[str]:
    """A line of prose, broken before a label such as `Cost:`."""
    first, *rest = MID_LINE.split(line)
    return [first, *(" " * min(indent(line), 80) + part for part in rest)]


def last_formula(lines: list[str]) -> int:
    """The last line of formulas that open a paragraph and continue indented; -1 if it opens otherwise."""
    last = -1
    if " = " in lines[0] and not lines[0].rstrip().endswith(":"):
        for number, line in enumerate(lines):
            if " = " not in line:
                break
            if indent(line) > indent(lines[0]):
                last = number
    return last


def prose(lines: list[str]) -> list[str]:
    """One paragraph or list, and the equations below it."""
    if (last := last_formula(lines)) > 0:
        rest = lines[last + 1 :]
        return [
            ".. code-block:: none",
            "",
            *("   " + line for line in lines[: last + 1]),
            "",
            *(prose(rest) if rest else []),
        ]
    out: list[str] = []
    literal = False
    lines = [part for line in lines for part in split_labels(line)]
    for number, line in enumerate(lines):
        deep = indent(line) > indent(lines[0])
        item = ITEM.match(line)
        if item and indent(line) == indent(lines[0]):
            if number and not ITEM.match(lines[number - 1]) and indent(lines[number - 1]) == indent(line):
                out.append("")
            mark = "-" if item[2] in "-*•" else item[2]
            out.append(f"{item[1]}{mark} {inline(item[3])}")
            literal = False
        elif deep and out and not literal and not ITEM.match(lines[0]) and lines[number - 1].rstrip().endswith(":"):
            out += ["", ".. code-block:: none", "", "   " + line]
            literal = True
        elif deep and literal:
            out.append("   " + line)
        elif (
            (label := LABEL.match(line))
            and not deep
            and (label[2] in KNOWN or (number > 0 and lines[number - 1].rstrip()[-1] in ".:;)"))
        ):
            name = label[2] if label[2][0].isupper() else f"``{label[2]}``"
            strong = f"**{name}:**" if label[2][0].isupper() else f"{name}:"
            out += ["", label[1] + strong + inline(label[3])] if number else [label[1] + strong + inline(label[3])]
            literal = False
        else:
            if literal:
                out.append("")
                literal = False
            if ITEM.match(lines[0]):
                out.append(line[: indent(line)] + inline(line.strip()))
            else:
                out.append(" " * indent(lines[0]) + inline(line.strip()))
    return out


def to_rst(docstring: str | list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    text = docstring if isinstance(docstring, str) else "\n".join(docstring)
    lines = inspect.cleandoc(text).splitlines()
    out: list[str] = []
    inside = ""  # the Google section or the sentence that introduces indented blocks
    for block in blocks(lines):
        first = block[0].strip()
        if indent(block[0]) == 0 or not inside:
            inside = ""
        if first.startswith(">>>"):
            out += [*(line.rstrip() for line in block), ""]
        elif inside == "section":
            out += [*section(block), ""]
        elif indent(block[0]) > 0:
            out += [".. code-block:: none", "", *("   " + line for line in block), ""]
            inside = "literal"
        elif SECTION.match(first):
            out += [first, *section(block[1:]), ""]
            inside = "section"
        elif "```" in block[0] or (first.startswith("|") and first.endswith("|")):
            out += [".. code-block:: none", "", *("   " + line for line in block if "```" not in line), ""]
        else:
            doctest = next((n for n, line in enumerate(block) if line.strip().startswith(">>>")), len(block))
            out += [*prose(block[:doctest]), ""]
            if doctest < len(block):
                out += [*block[doctest:], ""]
    return out
