"""Line charts of recorded runs as inline SVG, in the colors of the page."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 300, 56, 44, 14, 14
STEPS = ("step", "steps")
DASHES = ("", "6 4", "2 3")


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers between two limits."""
    size = 10 ** math.floor(math.log10((high - low) / count or 1))
    size *= next((m for m in (1, 2, 5, 10) if (high - low) / (size * m) <= count), 10)
    first = math.ceil(low / size)
    return [round(n * size, 10) for n in range(first, math.floor(high / size) + 1)]


def numbers(rows: list[dict[str, Any]], column: str) -> list[float] | None:
    """A column, if it holds a finite number in every row."""
    values = [row.get(column) for row in rows]
    if all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        return [float(v) for v in values if v is not None]
    return None


def chart(title: str, x: list[float], lines: dict[str, list[float]], label: str) -> str:
    """One chart; every line has a name at its right end and a dash pattern of its own."""
    values = [v for line in lines.values() for v in line]
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or 1
    low, high = low - pad, high + pad

    def at(px: float, py: float) -> tuple[float, float]:
        inner = WIDTH - LEFT - RIGHT
        span = x[-1] - x[0] or 1
        return LEFT + inner * (px - x[0]) / span, TOP + (HEIGHT - TOP - BOTTOM) * (high - py) / (high - low)

    out = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">']
    for value in ticks(low, high):
        _, y = at(x[0], value)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity="0.15"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(x[0], x[-1]):
        px, _ = at(value, low)
        out.append(f'<text x="{px:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:,g}</text>')
    out.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(label)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        points = [at(px, py) for px, py in zip(x, line, strict=True)]
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        dash = f' stroke-dasharray="{DASHES[number % 3]}"' if DASHES[number % 3] else ""
        out.append(f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="2"{dash}/>')
        third = len(points) // 3  # the name: above the highest line, below the others
        (px, py), above = points[third], line[third] == max(other[third] for other in lines.values())
        out.append(f'<text x="{px + 6:.1f}" y="{py - 8 if above else py + 18:.1f}">{html.escape(name)}</text>')
    return "\n".join([*out, "</svg>"])


def charts(folder: Path) -> list[str]:
    """The charts of the recorded files of a package whose rows are steps of a run, as Markdown."""
    out = []
    for path in sorted(folder.glob("results/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = record.get("rows", [])
        label = next((name for name in STEPS if rows and name in rows[0]), None)
        x = numbers(rows, label) if label else None
        if label is None or x is None or len(x) < 4 or x != sorted(x):
            continue
        found = {name: numbers(rows, name) for name in rows[0]}
        lines = {name: v for name, v in found.items() if v and not all(n.is_integer() for n in v)}  # no counts
        if lines:
            out += [f"**{record['title']}**", "", chart(record["title"], x, lines, label), ""]
    return out
