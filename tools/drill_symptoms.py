"""What a planted mistake changes: run the probes on healthy and on changed source, and show what differs, side by side.

Both are run on this machine, so the numbers are comparable; the healthy results are kept for the next drill. A mistake
has a symptom where a curve leaves the band of three healthy runs, or another probe's result differs.
"""

from __future__ import annotations

import ast
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SECONDS = 600  # wall clock, for all probes of a package; a single probe has a limit of CPU time
SEEDS = (0, 1, 2)
SHADES = " .:-=+*#%@"
WIDTH = 40
Results = dict[str, dict[str, Any]]


def run_probes(package: Path, source: Path, seed: int, only: tuple[str, ...] = ()) -> Results:
    """Run the probes of a package on one copy of its source. A probe run that does not end is a symptom, too."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(source), str(ROOT / "tools")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    line = [sys.executable, str(ROOT / "tools" / "drill_probes.py"), str(package / "tests" / "drills.py"), str(seed)]
    try:
        done = subprocess.run(
            [*line, *only], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"all probes": {"kind": "error", "text": f"no result within {SECONDS} s"}}
    if done.returncode != 0:
        return {"all probes": {"kind": "error", "text": (done.stderr.strip().splitlines() or ["no output"])[-1]}}
    found: Results = json.loads(done.stdout.splitlines()[-1])
    return found


def healthy(package: Path, cache: Path, version: str) -> list[Results]:
    """Return the results of the unchanged package for each seed, from `cache` where they are of this version."""
    if cache.exists():
        kept = json.loads(cache.read_text(encoding="utf-8"))
        if kept["version"] == version:
            runs: list[Results] = kept["runs"]
            return runs
    runs = [run_probes(package, package / "src", SEEDS[0])]
    curves = tuple(name for name, result in runs[0].items() if result["kind"] == "curve")
    if curves:  # Python sees an empty choice as: all probes
        runs += [run_probes(package, package / "src", seed, curves) for seed in SEEDS[1:]]
    failed = [f"{name}: {result['text']}" for run in runs for name, result in run.items() if result["kind"] == "error"]
    if failed:
        raise RuntimeError(f"the unchanged package has symptoms: {failed[0]}")
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"version": version, "runs": runs}), encoding="utf-8")
    return runs


def differing(runs: list[Results], here: Results) -> list[str]:
    """Return the names of the probes in which the changed package differs from the healthy one."""
    if broken := [name for name in here if name not in runs[0]]:
        return broken
    return [name for name in here if differs([run[name] for run in runs if name in run], here[name])]


def differs(good: list[dict[str, Any]], here: dict[str, Any]) -> bool:
    """Return whether one probe's result is not that of the healthy package."""
    if here["kind"] != good[0]["kind"]:
        return True
    if here["kind"] == "curve":
        return any(outside(y, *band) for y, band in zip(here["y"], bands(good), strict=True))
    if here["kind"] == "gradients":
        return bool(wrong_gradients(here))
    if here["kind"] == "text":
        return here["lines"] != good[0]["lines"]
    return not same(here["rows"], good[0]["rows"])


def bands(good: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return the lowest and the highest healthy value at each point of a curve."""
    return [(min(values), max(values)) for values in zip(*(curve["y"] for curve in good), strict=True)]


def outside(y: float | None, low: float, high: float) -> bool:
    """Return whether a value is outside a band, with as much room again on both sides: three runs are few."""
    room = max(high - low, 0.05 * abs(high), 1e-6)
    return y is None or not math.isfinite(y) or not low - room <= y <= high + room


def wrong_gradients(result: dict[str, Any]) -> dict[str, list[float]]:
    """Return the rows of a gradient table in which the analytic slope is not the numeric one."""

    def wrong(analytic: float | None, numeric: float | None) -> bool:
        if analytic is None or numeric is None:
            return True
        return abs(analytic - numeric) > 1e-5 * max(abs(analytic), abs(numeric), 1e-3)

    return {name: row for name, row in result["rows"].items() if wrong(*row)}


def same(a: Any, b: Any) -> bool:
    """Return whether two results are equal, numbers to six digits."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


# ------------------------------------------------------------------------------------------------ rendering


def report(runs: list[Results], here: Results) -> list[str]:
    """Return the symptoms as lines of text: each probe that differs, then the names of those that do not."""
    names = differing(runs, here)
    lines = []
    for name in names:
        good = [run[name] for run in runs if name in run]
        lines += ["", f"{name}:", *(f"  {line}" for line in shown(good, here[name]))]
    rest = [name for name in here if name not in names]
    if rest:
        lines += ["", "as in the healthy package: " + ", ".join(rest)]
    return lines


def shown(good: list[dict[str, Any]], here: dict[str, Any]) -> list[str]:
    """Return one probe's result beside the healthy one."""
    if here["kind"] == "error":
        return [here["text"]]
    if here["kind"] == "curve":
        return curve(good, here)
    if here["kind"] == "gradients":
        return gradients(here)
    if here["kind"] == "map":
        return shades(good[0]["rows"], here["rows"])
    if here["kind"] == "text":
        return text(good[0]["lines"], here["lines"])
    return numbers(good[0]["rows"], here["rows"])


def curve(good: list[dict[str, Any]], here: dict[str, Any]) -> list[str]:
    """Draw a curve, one line per point: `=` is the band of the healthy runs, `*` is here."""
    band = bands(good)
    finite = [y for y in here["y"] if y is not None and math.isfinite(y)]
    low = min([*finite, *(a for a, _ in band)])
    high = max([*finite, *(b for _, b in band)])

    def column(y: float) -> int:
        return round((y - low) / max(high - low, 1e-12) * (WIDTH - 1))

    lines = [f"{'step':>6}  {f'{low:.3g}':<{WIDTH // 2}}{f'{high:.3g}':>{WIDTH - WIDTH // 2}}   here   healthy"]
    for x, y, (a, b) in zip(here["x"], here["y"], band, strict=True):
        row = ["=" if column(a) <= i <= column(b) else " " for i in range(WIDTH)]
        value = "NaN" if y is None or not math.isfinite(y) else f"{y:.3g}"
        if value != "NaN":
            row[column(y)] = "*"
        lines.append(f"{x:>6}  {''.join(row)}  {value:>6}   {a:.3g} to {b:.3g}")
    return lines


def gradients(here: dict[str, Any]) -> list[str]:
    """List the parameters whose gradient is wrong, as the slopes along a random direction."""
    wrong = wrong_gradients(here)
    width = max(len(name) for name in wrong)
    lines = [f"{'parameter':{width}}  {'backward':>12}  {'difference quotient':>19}"]
    lines += [f"{n:{width}}  {number(a):>12}  {number(b):>19}" for n, (a, b) in list(wrong.items())[:12]]
    more = len(wrong) - 12
    return [*lines, f"{more} more" if more > 0 else "", f"{len(wrong)} of {len(here['rows'])} gradients are wrong"]


def number(value: Any) -> str:
    """Return a number with five digits, or a text as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "NaN" if value is None else str(value)
    return f"{value:.5g}"


def shades(good: list[list[float]], here: list[list[float]]) -> list[str]:
    """Draw two maps of values from 0 to 1 side by side, two characters for each value."""

    def line(row: list[float]) -> str:
        return "".join(2 * SHADES[min(9, max(0, int(9.999 * (v or 0))))] for v in row)

    width = max(10, 2 * len(good[0]))
    lines = [f"{'healthy':{width + 4}}here"]
    for i in range(max(len(good), len(here))):
        left, right = (line(rows[i]) if i < len(rows) else "" for rows in (good, here))
        lines.append(f"|{left:{width}}|  |{right}|")
    return lines


def text(good: list[str], here: list[str]) -> list[str]:
    """List the lines that differ, healthy and here."""
    lines = []
    for i in range(max(len(good), len(here))):
        left, right = (side[i] if i < len(side) else "(nothing)" for side in (good, here))
        if left != right:
            lines += [f"healthy: {left}", f"here:    {right}", ""]
    return lines[:-1]


def numbers(good: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """List the values that differ, healthy and here."""
    labels = [label for label in {**good, **here} if not same(good.get(label), here.get(label))]
    width = max(len(label) for label in labels)
    rows = [(label, number(good.get(label, "–")), number(here.get(label, "–"))) for label in labels]
    column = max(7, *(len(a) for _, a, _ in rows))
    return [f"{'':{width}}  {'healthy':>{column}}  here", *(f"{n:{width}}  {a:>{column}}  {b}" for n, a, b in rows)]


def function_around(source: str, line: int) -> str:
    """Return the name of the function or class that holds a line, counted from 1; the file's top level otherwise."""
    found = "the top level of the file"
    for node in ast.walk(ast.parse(source)):
        inside = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.lineno <= line <= (node.end_lineno or 0)
        if inside:
            found = getattr(node, "name", found)  # ast.walk visits outer nodes first
    return found
