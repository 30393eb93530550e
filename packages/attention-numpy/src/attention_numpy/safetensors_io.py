"""Read and write weights in the safetensors format with NumPy alone.

The format: eight bytes of header length (little-endian), a JSON header {name: {dtype, shape, data_offsets}}, the
numbers. Unlike a pickle it cannot execute code. Its "__metadata__" holds strings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attention_numpy._common.atomic import write_bytes
from attention_numpy.module import Array

DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation


def write_safetensors(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays atomically. Raises: ValueError for a dtype other than float16, float32, float64 and int64."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start, parts = 0, []
    for name, array in arrays.items():
        little = np.asarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        if little.dtype not in NAMES:
            raise ValueError(f"`{name}` must be one of {', '.join(map(str, NAMES))}, got {array.dtype}")
        stop = start + little.nbytes
        header[name] = {"dtype": NAMES[little.dtype], "shape": little.shape, "data_offsets": [start, stop]}
        parts.append(little.tobytes())
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers start at a multiple of eight
    write_bytes(path, len(text).to_bytes(8, "little") + text + b"".join(parts))


def read_safetensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays by name, and the metadata.

    Raises: ValueError that names the file if it is not what its header says; OSError if it cannot be read.
    """
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    try:
        if not 2 <= size <= min(MAX_HEADER_BYTES, len(content) - 8):
            raise ValueError("it is cut off or has no header")
        header = json.loads(content[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata holds values that are not strings")
        body = content[8 + size :]
        arrays = {name: _array(name, entry, body) for name, entry in header.items()}
        if sum(array.nbytes for array in arrays.values()) != len(body):
            raise ValueError("its header does not account for every byte")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a safetensors file of float16, float32, float64 or int64 arrays ({error})"
        ) from None
    return arrays, metadata


def _array(name: str, entry: dict[str, Any], body: bytes) -> Array:
    start, stop = entry["data_offsets"]
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    if not all(type(i) is int and i >= 0 for i in (start, stop, *shape)) or not start <= stop <= len(body):
        raise ValueError(f"the offsets or the shape of {name!r} are out of range")
    if stop - start != dtype.itemsize * math.prod(shape):
        raise ValueError(f"{name!r} has {stop - start} bytes, which do not fit its shape {shape}")
    return np.frombuffer(body[start:stop], dtype=dtype).reshape(shape).copy()
