"""Encode files larger than memory, and read and write token files (`bpe encode` writes them).

A **token file** holds ids as little-endian uint16 or uint32. A JSON file beside it, `NAME.json`, states its dtype, its
length and the tokenizer.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bpe._common.atomic import atomic_write, write_json
from bpe._common.errors import check_integer
from bpe.encoding import NO_SPECIAL
from bpe.errors import FormatError
from bpe.formats.base import read_json
from bpe.special import AllowedSpecial, DisallowedSpecial
from bpe.tokenizer import Tokenizer
from bpe.training.corpus import STDIN, chunks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bpe.engines.base import Ids


def encode_file(
    tokenizer: Tokenizer,
    path: str | Path,
    *,
    allowed_special: AllowedSpecial = NO_SPECIAL,
    disallowed_special: DisallowedSpecial = "all",
    num_threads: int = 1,
    chunk_bytes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Ids]:
    """Yield the ids of a UTF-8 file chunk by chunk. They concatenate to the ids of the whole text.

    Args:
        tokenizer: the tokenizer.
        path: a file (also .gz, .zst, a pipe, or "-" for stdin).
        allowed_special, disallowed_special: as in `Tokenizer.encode`.
        num_threads: chunks that are encoded at the same time. Several help with the compiled engine.
        chunk_bytes: size of a chunk; by default 4 MiB.
        progress: called with the number of bytes that were encoded since the last call.
    """
    check_integer("num_threads", num_threads, 1)
    if chunk_bytes is not None:
        check_integer("chunk_bytes", chunk_bytes, 1)
    return _encoded(
        tokenizer, path, allowed_special, disallowed_special, num_threads, chunk_bytes, progress
    )  # a generator would check its arguments only when it is read


def _encoded(
    tokenizer: Tokenizer,
    path: str | Path,
    allowed_special: AllowedSpecial,
    disallowed_special: DisallowedSpecial,
    num_threads: int,
    chunk_bytes: int | None,
    progress: Callable[[int], None] | None,
) -> Iterator[Ids]:
    parts = chunks(path, tokenizer.chunk_pattern, tokenizer.special_tokens, chunk_bytes)
    while group := list(islice(parts, num_threads)):
        texts = [part.read() for part in group]
        try:
            yield from tokenizer.encode_batch_to_numpy(
                texts, num_threads=num_threads, allowed_special=allowed_special, disallowed_special=disallowed_special
            )
        except ValueError as error:
            name = "stdin" if Path(path) == STDIN else path
            raise ValueError(f"{name}, after byte {group[0].start}: {error}") from None
        if progress is not None:
            progress(sum(map(len, group)))


def dtype_for(vocab_size: int) -> np.dtype[Any]:
    """Return the dtype of a token file: uint16 while the ids fit, else uint32; little-endian."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def fingerprint(tokenizer: Tokenizer) -> str:
    """Return 16 hexadecimal digits that identify a vocabulary with its pattern and special tokens."""
    digest = hashlib.sha256(repr((tokenizer.pattern, sorted(tokenizer.special_tokens.items()))).encode())
    for token, i in sorted(tokenizer.ranks.items(), key=lambda item: item[1]):
        digest.update(b"%d %d " % (i, len(token)) + token)
    if tokenizer.pipeline is not None:
        digest.update(repr(tokenizer.pipeline).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def description_of(path: str | Path) -> Path:
    """Return the path of the JSON file that describes a token file."""
    return Path(f"{path}.json")


def write_ids(
    tokenizer: Tokenizer,
    path: str | Path,
    out: str | Path,
    *,
    allowed_special: AllowedSpecial = NO_SPECIAL,
    disallowed_special: DisallowedSpecial = "all",
    num_threads: int = 1,
    chunk_bytes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Encode a file into a token file and its description, which is returned. Arguments as in `encode_file`.

    out: the token file; "-" writes the ids on stdout, without a description.
    """
    dtype = dtype_for(tokenizer.n_vocab)
    arrays = encode_file(
        tokenizer,
        path,
        allowed_special=allowed_special,
        disallowed_special=disallowed_special,
        num_threads=num_threads,
        chunk_bytes=chunk_bytes,
        progress=progress,
    )
    tokens = 0
    description = {
        "dtype": dtype.str,
        "tokens": 0,
        "vocab_size": tokenizer.n_vocab,
        "tokenizer": fingerprint(tokenizer),
        "source": Path(path).name,
    }
    if Path(out) == STDIN:
        for ids in arrays:
            sys.stdout.buffer.write(ids.astype(dtype).tobytes())
            tokens += len(ids)
        return {**description, "tokens": tokens}
    with atomic_write(out) as temporary, temporary.open("wb") as file:
        for ids in arrays:
            file.write(ids.astype(dtype).tobytes())
            tokens += len(ids)
    description["tokens"] = tokens
    if Path(out).is_file():  # a device or a pipe has no description
        write_json(description_of(out), description)
    return description


def read_ids(path: str | Path, tokenizer: Tokenizer) -> NDArray[np.unsignedinteger[Any]]:
    """Return the ids of a token file that `tokenizer` wrote; a regular file is mapped into memory.

    Raises: ValueError if the size is not a multiple of the dtype's, FormatError if the description names another
    tokenizer.
    """
    path, dtype = Path(path), dtype_for(tokenizer.n_vocab)
    if path == STDIN or not path.is_file():
        data = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        _check_size(path, len(data), dtype)
        return np.frombuffer(data, dtype)
    if description_of(path).is_file():
        _check_description(path, tokenizer)
    size = path.stat().st_size
    _check_size(path, size, dtype)
    return np.memmap(path, dtype, mode="r") if size else np.empty(0, dtype)


def _check_size(path: Path, size: int, dtype: np.dtype[Any]) -> None:
    if size % dtype.itemsize:
        name = "stdin" if path == STDIN else path
        raise ValueError(
            f"{name}: the size must be a multiple of {dtype.itemsize} bytes ({dtype.name} ids), got {size}"
        )


def _check_description(path: Path, tokenizer: Tokenizer) -> None:
    about = read_json(description_of(path))
    if not isinstance(about, dict) or not {"dtype", "tokens", "vocab_size"} <= about.keys():
        raise FormatError(f"{description_of(path)}: must describe the token file {path}")
    size = path.stat().st_size
    expected = about.get("tokenizer", fingerprint(tokenizer))
    if expected != fingerprint(tokenizer) or about["vocab_size"] != tokenizer.n_vocab:
        raise FormatError(
            f"{path}: written with another tokenizer ({about['vocab_size']} ids), not with this one "
            f"({tokenizer.n_vocab} ids), as {description_of(path).name} states"
        )
    if about["tokens"] * dtype_for(tokenizer.n_vocab).itemsize != size:
        raise FormatError(
            f"{path}: must hold {about['tokens']} ids, as {description_of(path).name} states, got {size} bytes"
        )
