"""Text files to token files: sharded, in parallel, resumable, with bounded memory.

The work is cut into pieces of some megabytes. A piece becomes one shard, written under a temporary name and
renamed, so what is there is whole and a second run goes on where the first one ended. Text is cut only before a
space that follows something else: there byte-level BPE never has a token across, so the cut changes no id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from gpt2 import tokenizers
from gpt2.data import INDEX
from gpt2.pretrained import write_atomically, write_json

PIECE = 2**24  # bytes of text in one shard
SLACK = 2**16  # how far to look for a place to cut


@dataclass(frozen=True)
class Piece:
    """A part of an input file."""

    file: str
    start: int
    end: int
    last: bool  # whether a document ends here


def pieces(path: Path, size: int = PIECE) -> Iterator[Piece]:
    """Cut a file: text before a space that follows something else, JSONL after a line."""
    total, start = path.stat().st_size, 0
    lines = path.suffix == ".jsonl"
    if path.suffix == ".bin":
        whole = max(4, size // 4 * 4)  # an id has 2 or 4 bytes
        for start in range(0, total, whole):
            yield Piece(str(path), start, min(start + whole, total), last=start + whole >= total)
        return
    with path.open("rb") as file:
        while start < total:
            end = min(start + size, total)
            while end < total:
                file.seek(end)
                look = file.read(SLACK)
                cut = look.find(b"\n") + 1 if lines else _before_space(look)
                if cut > 0:
                    end += cut
                    break
                end = min(end + len(look), total)
            yield Piece(str(path), start, end, last=not lines and end == total)
            start = end


def _before_space(look: bytes) -> int:
    """The first place before a space that follows a letter, digit or sign; 0 if there is none."""
    return next((i for i in range(1, len(look)) if look[i] == 32 and look[i - 1] > 32), 0)


def encode_piece(piece: Piece, tokenizer: tokenizers.Tokenizer) -> tuple[list[int], int]:
    """The token ids of a piece and the number of documents that end in it, each with the end-of-text token.

    A text file is one document; in a JSONL file the field "text" of each line is one.
    """
    with open(piece.file, "rb") as file:
        file.seek(piece.start)
        raw = file.read(piece.end - piece.start)
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    if piece.file.endswith(".bin"):
        ids = np.frombuffer(raw, ids_dtype(piece.file, tokenizer)).tolist()
        if ids and max(ids) >= tokenizer.n_vocab:
            raise ValueError(f"{piece.file}: holds the id {max(ids)}, but the tokenizer has {tokenizer.n_vocab}")
        return ids + (end if piece.last else []), int(piece.last)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{piece.file}: byte {piece.start + error.start} is not UTF-8") from None
    if not piece.file.endswith(".jsonl"):
        return tokenizer.encode(text) + (end if piece.last else []), int(piece.last)
    ids = []
    lines = [line for line in text.split("\n") if line.strip()]
    for line in lines:
        try:
            ids += tokenizer.encode(json.loads(line)["text"]) + end
        except (json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(f'{piece.file}: a line that is no JSON object with a "text": {line[:60]!r}') from None
    return ids, len(lines)


def ids_dtype(file: str, tokenizer: tokenizers.Tokenizer) -> str:
    """How `bpe encode` stored the ids of FILE.bin: FILE.bin.json says. ValueError if another vocabulary made them."""
    note = Path(f"{file}.json")
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        dtype, n_vocab = found["dtype"], found["n_vocab"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(f"{file}: `bpe encode` writes {note.name} beside it, which is missing or damaged") from None
    if dtype not in ("<u2", "<u4") or n_vocab != tokenizer.n_vocab:
        raise ValueError(f"{file}: ids of a vocabulary of {n_vocab}; the tokenizer has {tokenizer.n_vocab}")
    return str(dtype)


def prepare(
    files: Sequence[str | Path],
    out: str | Path,
    tokenizer: str = "bytes",
    *,
    held_out: float = 0.1,
    workers: int = 1,
    piece_bytes: int = PIECE,
) -> dict[str, Any]:
    """Write the token files of texts (.txt, .jsonl with "text", .bin of `bpe encode`) to a folder; returns the index.

    The last `held_out` of all tokens is kept for validation.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out: {held_out} is not in [0, 1)")
    made = tokenizers.make(tokenizer)
    missing = [str(f) for f in files if not Path(f).is_file()]
    if missing or not files:
        raise ValueError(f"{missing[0] if missing else 'files'}: no such file")
    work = [piece for file in files for piece in pieces(Path(file), piece_bytes)]
    if not work:
        raise ValueError(f"{', '.join(map(str, files))}: no text at all")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / INDEX).unlink(missing_ok=True)
    tokenizers.save(made, out)
    description = json.loads((out / tokenizers.FILE).read_text(encoding="utf-8"))
    dtype = "uint16" if made.n_vocab <= 2**16 else "uint32"
    task = partial(_shard, out=str(out), tokenizer=tokenizer, dtype=dtype)
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            shards = list(pool.map(task, range(len(work)), work))
    else:
        shards = [task(number, piece) for number, piece in enumerate(work)]
    tokens = sum(s["tokens"] for s in shards)
    if not tokens:
        raise ValueError(f"{', '.join(map(str, files))}: no tokens at all")
    index = {
        "version": 1,
        "tokenizer": description,
        "vocab_size": made.n_vocab,
        "dtype": dtype,
        "tokens": tokens,
        "documents": sum(s["documents"] for s in shards),
        "held_out": int(tokens * held_out),
        "shards": [{key: s[key] for key in ("file", "tokens", "documents")} for s in shards if s["tokens"]],
    }
    write_json(out / INDEX, index)
    return index


def _shard(number: int, piece: Piece, *, out: str, tokenizer: str, dtype: str) -> dict[str, Any]:
    """Encode one piece to one shard, unless an earlier run did so: its note names the piece and the tokenizer."""
    path = Path(out) / f"{number:05d}.bin"
    note = path.with_suffix(".json")
    made = tokenizers.make(tokenizer)
    size, changed = Path(piece.file).stat().st_size, Path(piece.file).stat().st_mtime_ns
    source = {**asdict(piece), "bytes": size, "changed": changed, "tokenizer": made.description()}
    if note.exists() and path.exists():
        known: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        if known["source"] == source:
            return known
    ids, documents = encode_piece(piece, made)
    array = np.asarray(ids, dtype=dtype)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            array.tofile(file)

    note.unlink(missing_ok=True)  # a shard and a note of different runs must not meet
    write_atomically(path, write)
    found = {"file": path.name, "tokens": len(array), "documents": documents, "source": source}
    write_json(note, found)
    return found
