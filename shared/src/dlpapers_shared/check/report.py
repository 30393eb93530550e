"""The result of a check: rows of a table, the mistake that was recognized, and a verdict."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "FAIL", "note", "skip"]
COLORS = {"ok": "#1a7f37", "FAIL": "#b3261e", "note": "#7a5900", "skip": "#666666"}


@dataclass(frozen=True)
class Row:
    """One comparison: what was compared, its status, and one sentence."""

    name: str
    status: Status
    detail: str


@dataclass
class Report:
    """The comparison of one implementation with the reference. A notebook shows it as a table.

    `bool(report)` is `report.passed`, so `assert check.softmax(f)` works. A note does not fail a check.

    >>> report = Report("softmax", "f", "NumPy")
    >>> report.add("output", "ok", "largest difference 0")
    >>> print(report)
    softmax: f (NumPy)
      ok    output  largest difference 0
    1 of 1 checks pass
    >>> bool(report)
    True
    """

    subject: str
    target: str
    backend: str
    rows: list[Row] = field(default_factory=list)
    diagnosis: list[str] = field(default_factory=list)

    def add(self, name: str, status: Status, detail: str = "") -> None:
        """Append a row."""
        self.rows.append(Row(name, status, detail))

    def explain(self, *sentences: str) -> None:
        """Append sentences to the diagnosis, each of them once."""
        self.diagnosis += [s for s in dict.fromkeys(sentences) if s not in self.diagnosis]

    @property
    def passed(self) -> bool:
        """Whether at least one check ran and none failed."""
        counted = [row.status for row in self.rows if row.status in ("ok", "FAIL")]
        return bool(counted) and "FAIL" not in counted

    @property
    def failures(self) -> list[Row]:
        """The rows that failed."""
        return [row for row in self.rows if row.status == "FAIL"]

    def __bool__(self) -> bool:
        return self.passed

    @property
    def verdict(self) -> str:
        """Return one sentence such as "3 of 4 checks pass"."""
        counted = [row for row in self.rows if row.status in ("ok", "FAIL")]
        skipped = sum(row.status == "skip" for row in self.rows)
        text = f"{len(counted) - len(self.failures)} of {len(counted)} checks pass"
        return f"{text}, {skipped} skipped" if skipped else text

    def __str__(self) -> str:
        width = max((len(row.name) for row in self.rows), default=0)
        lines = [f"{self.subject}: {self.target} ({self.backend})"]
        lines += [f"  {row.status:4}  {row.name:{width}}  {row.detail}".rstrip() for row in self.rows]
        return "\n".join([*lines, *self.diagnosis, self.verdict])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table that a notebook displays."""
        cell = "text-align:left;vertical-align:top;padding:2px 10px"
        rows = "".join(
            f'<tr><td style="{cell};color:{COLORS[row.status]};font-weight:bold">{row.status}</td>'
            f'<td style="{cell}">{html.escape(row.name)}</td><td style="{cell}">{html.escape(row.detail)}</td></tr>'
            for row in self.rows
        )
        title = html.escape(f"{self.subject}: {self.target} ({self.backend})")
        below = "".join(f"<p><b>{html.escape(sentence)}</b></p>" for sentence in self.diagnosis)
        return f"<table><caption>{title}</caption><tbody>{rows}</tbody></table>{below}<p>{self.verdict}</p>"
