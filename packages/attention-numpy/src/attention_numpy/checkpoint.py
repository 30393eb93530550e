"""Files of weights in the safetensors format, read and written with NumPy alone; atomic writes.

The format: eight bytes of header length (little-endian), a JSON header {name: {dtype, shape, data_offsets}}, the
numbers. No code can hide in it, unlike in a pickle. Its "__metadata__" holds strings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attention_numpy.layer import Array

DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename: the file is whole or is what it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start, parts = 0, []
    for name, array in arrays.items():
        little = np.asarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        if little.dtype not in NAMES:
            raise ValueError(f"{name}: {array.dtype} met, a checkpoint holds {', '.join(map(str, NAMES))}")
        stop = start + little.nbytes
        header[name] = {"dtype": NAMES[little.dtype], "shape": little.shape, "data_offsets": [start, stop]}
        parts.append(little.tobytes())
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of eight
    write_atomically(path, len(text).to_bytes(8, "little") + text + b"".join(parts))


def load(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays by name, and the metadata. ValueError for a file that is not what it says."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        body = content[8 + size :]
        arrays: dict[str, Array] = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            if not 0 <= start <= stop <= len(body):
                raise ValueError("it is cut off")
            arrays[name] = np.frombuffer(body[start:stop], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no safetensors file of float32, float64 or int64 arrays ({error})") from error
    return arrays, metadata
