"""Encoding a file that is larger than memory, and the files of ids that `bpe encode` writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bpe.chunks import CHUNK, spans
from bpe.engine import Ids
from bpe.formats.files import atomic, write_json
from bpe.tokenizer import Tokenizer


def encode_file(
    tokenizer: Tokenizer,
    path: str | Path,
    *,
    allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
    disallowed_special: Literal["all"] | Collection[str] = "all",
    num_threads: int = 1,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Ids]:
    """Ids of a UTF-8 file, a chunk at a time; together they are the ids of its whole text.

    The file is cut only where the ids cannot notice (`bpe.chunks`). `num_threads` chunks are encoded at once; they help
    on the compiled engine. `progress` is called with the bytes that were done.
    """
    parts = spans(path, tokenizer.pattern, tokenizer.special_tokens, chunk)
    for i in range(0, len(parts), num_threads):
        group = parts[i : i + num_threads]
        try:
            yield from tokenizer.encode_batch_to_numpy(
                [span.read() for span in group],
                num_threads=num_threads,
                allowed_special=allowed_special,
                disallowed_special=disallowed_special,
            )
        except ValueError as error:
            where = "" if str(path) in str(error) else f"{path}, from byte {group[0].start} on: "
            raise ValueError(f"{where}{error}") from None
        if progress is not None:
            progress(sum(map(len, group)))


def dtype_for(n_vocab: int) -> np.dtype[Any]:
    """How ids are stored: two bytes each while they fit, else four; little-endian."""
    return np.dtype("<u2" if n_vocab <= 1 << 16 else "<u4")


def write_ids(tokenizer: Tokenizer, path: str | Path, out: str | Path, **how: Any) -> dict[str, Any]:
    """Encode a file into a file of ids, and describe it in `out`.json, which it returns. `how`: see `encode_file`."""
    dtype = dtype_for(tokenizer.n_vocab)
    tokens = 0
    with atomic(Path(out)) as file:
        for ids in encode_file(tokenizer, path, **how):
            file.write(ids.astype(dtype).tobytes())
            tokens += len(ids)
    about = {"dtype": dtype.str, "tokens": tokens, "n_vocab": tokenizer.n_vocab, "source": Path(path).name}
    write_json(Path(f"{out}.json"), about, indent=1)
    return about


def read_ids(path: str | Path, n_vocab: int) -> NDArray[np.unsignedinteger[Any]]:
    """A file of ids, mapped into memory; ValueError if its size is no whole number of ids."""
    dtype = dtype_for(n_vocab)
    size = Path(path).stat().st_size
    if size % dtype.itemsize:
        raise ValueError(f"{path}: {size} bytes are no whole number of ids of {dtype.itemsize} bytes each")
    return np.memmap(path, dtype, mode="r") if size else np.empty(0, dtype)
