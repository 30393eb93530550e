"""Convert text files to token files: sharded, in parallel, resumable, with bounded memory.

The input is cut into chunks of a few megabytes. Each chunk becomes one shard, whose name carries a hash of its source,
so a second run reuses the shards of an interrupted one. The index is written last: until then, an earlier data set in
the same folder stays valid. Text is cut only where byte-level BPE never has a token across, so the cuts change no id.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from gpt2._common.atomic import atomic_write, read_json, read_json_object, write_json
from gpt2._common.errors import check_fraction, check_integer
from gpt2.data import tokenizers
from gpt2.data.token_file import INDEX, INDEX_VERSION

CHUNK_BYTES = 2**24  # text in one shard
SEARCH_BYTES = 2**16  # read at a time when looking for a place to cut
# Formats that must not be read as plain text by mistake.
NOT_TEXT = {".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".pdf"}
# Cuts that GPT-2's and GPT-4's patterns cannot notice: before a space after a letter, digit, or punctuation; after a
# single line end between two of them; and after a letter before CJK or Latin punctuation other than an apostrophe.
CUT = re.compile(r"(?<=[^\s])(?= )|(?<=[^\s]\n)(?=\S)|(?<=[^\s]\r\n)(?=\S)|(?<=[^\W\d_])(?=[.,;:!?、。，；：！？])")


@dataclass(frozen=True)
class Chunk:
    """A part of an input file, in bytes."""

    file: str
    start: int
    end: int
    last: bool  # whether a document ends here


def chunks(path: Path, size: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Cut a file into chunks of about `size` bytes: text at CUT, JSONL after a line."""
    total, start = path.stat().st_size, 0
    lines = path.suffix in (".jsonl", ".ndjson")
    if path.suffix == ".bin":
        whole = max(4, size // 4 * 4)  # an id has 2 or 4 bytes
        for start in range(0, total, whole):
            yield Chunk(str(path), start, min(start + whole, total), last=start + whole >= total)
        return
    with path.open("rb") as file:
        while start < total:
            end = min(start + size, total)
            while end < total:
                file.seek(end)
                look = file.read(SEARCH_BYTES)
                cut = look.find(b"\n") + 1 if lines else _cut(look)
                if cut > 0:
                    end += cut
                    break
                # the last bytes are read again, because a cut may lie between two portions
                end = total if end + len(look) >= total else end + len(look) - 8
            yield Chunk(str(path), start, end, last=not lines and end == total)
            start = end


def _cut(look: bytes) -> int:
    """Return the number of bytes before the first place to cut, or 0 if there is none."""
    text = look.decode("utf-8", errors="surrogateescape")
    for found in CUT.finditer(text):
        if found.start() > 2:  # whatever precedes the portion is then irrelevant
            return len(text[: found.start()].encode("utf-8", errors="surrogateescape"))
    return 0


def encode_chunk(chunk: Chunk, tokenizer: tokenizers.Tokenizer) -> tuple[list[int], int]:
    """Return the token ids of a chunk and the number of documents that end in it, each with the end-of-text token.

    A text file is one document; in a JSONL file the field "text" of each line is one.
    """
    with open(chunk.file, "rb") as file:
        file.seek(chunk.start)
        raw = file.read(chunk.end - chunk.start)
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    if chunk.file.endswith(".bin"):
        ids = np.frombuffer(raw, ids_dtype(chunk.file, tokenizer)).tolist()
        if ids and max(ids) >= tokenizer.vocab_size:
            raise ValueError(
                f"{chunk.file}: has the id {max(ids)}, but the tokenizer has {tokenizer.vocab_size} tokens"
            )
        return ids + (end if chunk.last else []), int(chunk.last)
    try:
        text = raw.decode("utf-8-sig" if chunk.start == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{chunk.file}: not UTF-8 (byte {chunk.start + error.start})") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # as every other command reads text
    if not chunk.file.endswith((".jsonl", ".ndjson")):
        try:
            return tokenizer.encode(text) + (end if chunk.last else []), int(chunk.last)
        except ValueError as error:
            raise ValueError(f"{chunk.file}: {error}") from None
    ids, documents = [], 0
    for number, line in enumerate(text.split("\n"), _line_of(chunk)):
        if line.strip():
            ids += _encode_line(line, tokenizer, f"{chunk.file}:{number}") + end
            documents += 1
    return ids, documents


def _encode_line(line: str, tokenizer: tokenizers.Tokenizer, where: str) -> list[int]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(f'{where}: must be a JSON object whose "text" is a string, got {line[:60]!r}')
    try:
        return tokenizer.encode(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _line_of(chunk: Chunk) -> int:
    """Return the number of the first line of a chunk, for error messages."""
    with open(chunk.file, "rb") as file:
        return 1 + sum(file.read(min(2**20, chunk.start - at)).count(b"\n") for at in range(0, chunk.start, 2**20))


def ids_dtype(file: str, tokenizer: tokenizers.Tokenizer) -> str:
    """Return the dtype of FILE.bin, which `bpe encode` wrote, from FILE.bin.json.

    Raises: ValueError if the file was made with another vocabulary.
    """
    note = Path(f"{file}.json")
    try:
        facts = read_json(note)
        dtype, vocab_size = facts["dtype"], facts["n_vocab"] if "n_vocab" in facts else facts["vocab_size"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{file}: {note.name}, which `bpe encode` writes beside it, is missing or damaged") from None
    if dtype not in ("<u2", "<u4", "uint16", "uint32") or vocab_size != tokenizer.vocab_size:
        raise ValueError(f"{file}: ids of a vocabulary of {vocab_size}; the tokenizer has {tokenizer.vocab_size}")
    return {"uint16": "<u2", "uint32": "<u4"}.get(dtype, str(dtype))


def prepare(
    files: Sequence[str | Path],
    out: str | Path,
    tokenizer: str = "bytes",
    *,
    held_out: float = 0.1,
    workers: int = 1,
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[str, Any]:
    """Write the token files of texts (.txt, .jsonl with "text", .bin of `bpe encode`) to a folder; return the index.

    The last `held_out` of all tokens, a fraction, is kept for validation. Bytes and line ends are read as everywhere:
    a byte-order mark is dropped, and each line end becomes \\n.
    Raises: ValueError for a file that cannot be read; an earlier data set in `out` then stays as it was.
    """
    check_fraction("held_out", held_out)
    check_integer("workers", workers, 1)
    if not files:
        raise ValueError("`files` must name at least one text file, got none")
    made = _tokenizer(tokenizer)
    for file in map(Path, files):
        if not file.is_file():
            raise ValueError(f"{file}: {'is a folder' if file.is_dir() else 'not found'}")
        if file.suffix.lower() in NOT_TEXT:
            raise ValueError(f"{file}: must be plain text, .jsonl, or .bin. Convert it first")
    work = [chunk for file in files for chunk in chunks(Path(file), chunk_bytes)]
    if not work:
        raise ValueError(f"`files` must hold text, got {', '.join(map(str, files))}")
    out = Path(out)
    known = set(out.iterdir()) if out.is_dir() else None
    dtype = "uint16" if made.vocab_size <= 2**16 else "uint32"
    task = partial(_write_shard, out=str(out), tokenizer=tokenizer, dtype=dtype)
    try:
        if workers > 1 and len(work) > 1:
            with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_ignore_ctrl_c) as pool:
                shards = list(pool.map(task, range(len(work)), work))
        else:
            shards = [task(number, chunk) for number, chunk in enumerate(work)]
        if not (tokens := sum(s["tokens"] for s in shards)):
            raise ValueError(f"{', '.join(map(str, files))}: no tokens at all")
    except ValueError:
        _remove_new(out, known)
        raise
    index = {
        "version": INDEX_VERSION,
        "tokenizer": tokenizers.fingerprint(made),
        "vocab_size": made.vocab_size,
        "dtype": dtype,
        "tokens": tokens,
        "documents": sum(s["documents"] for s in shards),
        "held_out": int(tokens * held_out),
        "shards": [{k: s[k] for k in ("file", "tokens", "documents", "sha256")} for s in shards if s["tokens"]],
    }
    tokenizers.save(made, out)
    write_json(out / INDEX, index)
    used = {s["file"] for s in shards}
    for path in out.glob("shard-*.bin"):
        if path.name not in used:
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
    return index


def _ignore_ctrl_c() -> None:
    """Leave Ctrl-C to the main process, which reports it in one line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def _tokenizer(name: str) -> tokenizers.Tokenizer:
    return tokenizers.make(name)


def _remove_new(out: Path, known: set[Path] | None) -> None:
    """Delete what a failed run wrote, because its input has to change anyway."""
    for path in out.glob("shard-*"):
        if known is None or path not in known:
            path.unlink()
    if known is None and out.is_dir() and not any(out.iterdir()):
        out.rmdir()


def _write_shard(number: int, chunk: Chunk, *, out: str, tokenizer: str, dtype: str) -> dict[str, Any]:
    """Encode one chunk to one shard, unless an earlier run did so."""
    made = _tokenizer(tokenizer)
    status = Path(chunk.file).stat()
    source = {**asdict(chunk), "bytes": status.st_size, "changed": status.st_mtime_ns, "dtype": dtype}
    source["tokenizer"] = tokenizers.fingerprint(made)
    name = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:12]
    path = Path(out) / f"shard-{number:05d}-{name}.bin"
    note = path.with_suffix(".json")
    if note.exists() and path.exists():
        return read_json_object(note)
    ids, documents = encode_chunk(chunk, made)
    array = np.asarray(ids, dtype=dtype)
    with atomic_write(path) as temporary:
        array.tofile(temporary)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    facts = {"file": path.name, "tokens": len(array), "documents": documents, "sha256": digest}
    write_json(note, facts)
    return facts
