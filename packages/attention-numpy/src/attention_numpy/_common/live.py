# Vendored: edit shared/vendored/live.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Pages with a model in them: one HTML file that computes in the browser, with no network and no other file."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import invalid

COMMON = __name__.rpartition(".")[0]


def pack_tensors(tensors: Mapping[str, NDArray[Any]]) -> tuple[dict[str, tuple[list[int], int]], str]:
    """Return a table name -> (shape, offset) and the values of all tensors in float16, as base64.

    Raises: ValueError that names the tensor if a value is not finite in float16.
    """
    table: dict[str, tuple[list[int], int]] = {}
    parts, offset = [], 0
    for name, values in tensors.items():
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(values, dtype="<f2")
        if not np.isfinite(halves).all():
            raise invalid(name, "have finite values of at most 65,504 in magnitude", float(np.abs(values).max()))
        table[name] = (list(halves.shape), offset)
        parts.append(halves.tobytes())
        offset += halves.size
    return table, base64.b64encode(b"".join(parts)).decode()


def live_page(
    package: str, name: str, title: str, content: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> str:
    """Return the page `name`: the files NAME.html and NAME.js of `package`, the runtime, `content` and the tensors.

    content: what NAME.js finds in `page.content`; numbers must be finite.
    """
    table, weights = pack_tensors(tensors)
    everything = json.dumps({**content, "tensors": table}, allow_nan=False, separators=(",", ":"))
    body = _read(package, f"{name}.html")
    script = _read(package, f"{name}.js")
    return PAGE.format(
        title=html.escape(title),
        style=_read(COMMON, "live.css"),
        body=body,
        # a script element has no escapes, but "</script" would end it: write no "<"
        content=everything.replace("<", "\\u003c"),
        weights=weights,
        runtime=_read(COMMON, "live_model.js"),
        helpers=_read(COMMON, "live_page.js"),
        script=script,
    )


def _read(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
  <h1>{title}</h1>
  <button id="theme" type="button" aria-label="Switch between light and dark">◐</button>
</header>
{body}<script type="application/json" id="content">{content}</script>
<script type="text/plain" id="weights">{weights}</script>
<script>
{runtime}
{helpers}
{script}</script>
</body>
</html>
"""
