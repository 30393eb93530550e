"""Compare a `tokenizer.json` here with the library `tokenizers`: the ids of every line, and the time of both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bpe._common.optional import require
from bpe.engines.base import EngineName
from bpe.errors import FormatError
from bpe.formats import huggingface
from bpe.tokenizer import Tokenizer
from bpe.training.corpus import chunks


def compare_with_tokenizers(file: Path, text: Path, engine: EngineName = "auto") -> str:
    """Return a summary of the comparison: lines, ids, and the speedup over `tokenizers`.

    Compares the ids of each line, also with the template. text: a UTF-8 file, or "-" for stdin.
    Raises: ValueError that shows the first line whose ids differ, FormatError if `file` cannot be read here,
    ImportError without `tokenizers`.
    """
    live_class: Any = require("tokenizers", "bpe check").Tokenizer
    path = file / huggingface.NAME if file.is_dir() else file
    tokenizer = Tokenizer.load(path, engine=engine)
    try:
        live = live_class.from_file(str(path))
    except Exception as error:  # `tokenizers` raises plain Exception
        raise FormatError(f"{path}: `tokenizers` cannot read it ({error})") from None
    lines = "".join(part.read() for part in chunks(text, None)).splitlines(keepends=True)
    if not lines:
        raise ValueError(f"{text}: the text must not be empty")
    tokenizer.encode(lines[0], allowed_special="all")  # compiles or loads the kernels
    ours, our_seconds = _timed(lambda: [tokenizer.encode(line, allowed_special="all") for line in lines])
    theirs, their_seconds = _timed(lambda: [live.encode(line, add_special_tokens=False).ids for line in lines])
    for number, (line, mine, want) in enumerate(zip(lines, ours, theirs, strict=True), start=1):
        if mine != want:
            raise ValueError(_difference(f"{text}, line {number}", line, mine, want))
        mine, want = tokenizer.encode_with_template(line, allowed_special="all"), live.encode(line).ids
        if mine != want:
            raise ValueError(_difference(f"{text}, line {number}, with the template", line, mine, want))
    ids = sum(map(len, ours))
    speedup = their_seconds / max(our_seconds, 1e-9)
    return f"{path}: {len(lines):,} lines, {ids:,} ids, no difference; {speedup:.1f}x the speed of tokenizers"


def _timed(call: Any) -> tuple[list[list[int]], float]:
    start = time.process_time()
    return call(), time.process_time() - start


def _difference(where: str, line: str, mine: list[int], want: list[int]) -> str:
    first = next((i for i, (a, b) in enumerate(zip(mine, want, strict=False)) if a != b), min(len(mine), len(want)))
    span = slice(max(0, first - 2), first + 3)
    return f"{where}: id {first} differs, got {mine[span]}, `tokenizers` has {want[span]} in {line[:80]!r}"
