"""Execute notebooks from their .py sources (jupytext percent), with no network.

`notebooks.py [--write] [NAME ...]`: those whose path holds a NAME, else all; --write keeps the executed
.ipynb beside its source. A cell that raises, an assertion among them, ends the run. Two run at a time;
with --write only one, because some of them show how long a cell took.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jupytext  # type: ignore[import-untyped]
import nbformat
from nbclient import NotebookClient
from readme_blocks import NO_NETWORK, ROOT


def execute(source: Path) -> Any:
    """The notebook of a .py source with the outputs of a fresh run."""
    notebook = jupytext.read(source)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # jupytext samples them at random, which would change the file each time
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the wall time of each cell
    return notebook


def run(source: Path, write: bool) -> None:
    """Execute one notebook and, with write, keep it."""
    start = time.perf_counter()
    os.environ["NOTEBOOK_FOLDER"] = str(source.parent)  # it runs elsewhere; recorded results are found from here
    notebook = execute(source)
    if write:
        nbformat.write(notebook, source.with_suffix(".ipynb"))  # type: ignore[no-untyped-call]
    print(f"{source.relative_to(ROOT)}: {time.perf_counter() - start:.0f} s", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Execute and, with --write, keep."""
    names = [a for a in arguments if not a.startswith("-")]
    write = "--write" in arguments
    os.environ.update(NO_NETWORK)
    sources = sorted(ROOT.glob("packages/*/notebooks/*.py"))
    chosen = [s for s in sources if not names or any(name in str(s) for name in names)]
    with ProcessPoolExecutor(1 if write else 2) as pool:  # processes: each notebook has an environment of its own
        list(pool.map(run, chosen, [write] * len(chosen)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
