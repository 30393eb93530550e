"""Read lines as they arrive: one at a time from a slow pipe, many at once from a fast one."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any


def line_blocks(stream: Any, most: int) -> Iterator[list[str]]:
    """Yield lists of 1 to `most` lines of a text stream: all that have arrived, without waiting for more.

    Only a line feed ends a line. A byte-order mark and a carriage return before a line feed are dropped.
    Raises: ValueError that names the first line that is not UTF-8.
    """
    try:
        descriptor = stream.fileno()
    except (AttributeError, io.UnsupportedOperation):
        yield from _blocks_of(stream, most)
        return
    number = 0
    for block in _byte_blocks(descriptor, most):
        lines = []
        for raw in block:
            number += 1
            try:
                lines.append(raw.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r"))
            except UnicodeDecodeError as error:
                raise ValueError(f"stdin: line {number:,} is not UTF-8 (byte {error.start} of the line)") from None
        yield lines


def _blocks_of(lines: Iterable[str], most: int) -> Iterator[list[str]]:
    waiting = iter(lines)
    while block := [line.removesuffix("\n").removesuffix("\r") for line in islice(waiting, most)]:
        yield block


def _byte_blocks(descriptor: int, most: int) -> Iterator[list[bytes]]:
    rest, ended = b"", False
    lines: list[bytes] = []
    while not ended or lines:
        while not ended and len(lines) < most and (not lines or _ready(descriptor)):
            data = os.read(descriptor, 1 << 16)
            if not data:
                ended = True
                lines += [rest] if rest else []
                break
            *whole, rest = (rest + data).split(b"\n")
            lines += whole
        if lines:
            yield lines[:most]
            lines = lines[most:]


def _ready(descriptor: int) -> bool:
    """Whether reading would not wait. On systems that cannot tell (Windows), no."""
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    except (OSError, ValueError):
        return False
