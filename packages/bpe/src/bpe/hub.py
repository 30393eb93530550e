"""Get OpenAI's published vocabularies by name.

A file is searched for in $DLPAPERS_DATA_DIR/tokenizer, then in tiktoken's cache ($TIKTOKEN_CACHE_DIR), then in this
package's cache. If it is in none of them, it is downloaded. Its SHA-256 is always checked.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

from bpe._common.errors import check_choice
from bpe.engines.base import EngineName
from bpe.engines.choice import choose_engine
from bpe.formats import openai, tiktoken
from bpe.formats.known_files import GPT2_ENCODER, PUBLISHED, PublishedFile
from bpe.tokenizer import Tokenizer

_encodings: dict[tuple[str, str], Tokenizer] = {}
_lock = threading.RLock()


def find_local(file: PublishedFile) -> Path | None:
    """Return the local path of a published file, or None. Files whose SHA-256 does not match are ignored."""
    candidates = []
    if folder := os.environ.get("DLPAPERS_DATA_DIR"):
        candidates.append(Path(folder) / "tokenizer" / file.name)
    if folder := os.environ.get("TIKTOKEN_CACHE_DIR"):  # tiktoken names a file after the hash of its address
        candidates.append(Path(folder) / hashlib.sha1(file.url.encode()).hexdigest())
    for path in candidates:
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256:
            return path
    return None


def fetch(file: PublishedFile) -> Path:
    """Return the local path of a published file, downloading it if necessary."""
    if path := find_local(file):
        return path
    import pooch  # type: ignore[import-untyped]

    pooch.get_logger().setLevel("WARNING")  # it would announce the download on stderr
    shown = sys.stderr is not None and sys.stderr.isatty()
    try:
        cache = pooch.os_cache("dlpapers") / "tokenizer"
        return Path(pooch.retrieve(file.url, f"sha256:{file.sha256}", fname=file.name, path=cache, progressbar=shown))
    except (OSError, RuntimeError, ValueError) as error:
        raise OSError(
            f"{file.name}: not on this machine, and its download failed: {_reason(error)} ({file.url})"
        ) from None


def _reason(error: Exception) -> str:
    """Return the innermost reason of a failed download in one line, such as `Connection refused`."""
    text = " ".join(str(error).split())
    return text if len(text) <= 120 else f"{text[:120]}…"


def get_encoding(name: str, *, engine: EngineName = "auto") -> Tokenizer:
    """Return a published tokenizer: gpt2, r50k_base, p50k_base, cl100k_base or o200k_base.

    The files are downloaded once and their hash is checked. The same name and engine give the same object.
    r50k_base and p50k_base are derived from GPT-2's encoder.json where only that is on this machine.
    """
    check_choice("name", name, PUBLISHED)
    key = name, choose_engine(engine)
    with _lock:
        if key not in _encodings:
            _encodings[key] = _build(name, key[1])
        return _encodings[key]


if hasattr(os, "register_at_fork"):  # a child must not inherit a lock that another thread holds
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def _build(name: str, engine: EngineName) -> Tokenizer:
    entry = PUBLISHED[name]
    derive = name in ("r50k_base", "p50k_base") and find_local(entry.files[0]) is None
    ranks = _from_gpt2(name) if derive else None
    if ranks is None:
        paths = [fetch(file) for file in entry.files]
        if name == "gpt2":
            ranks = openai.ranks_in(paths[0], entry.special_tokens)
        else:
            ranks = tiktoken.parse(paths[0].read_bytes(), paths[0])
    return Tokenizer(ranks, pattern=entry.pattern, special_tokens=entry.special_tokens, engine=engine)


def _from_gpt2(name: str) -> dict[bytes, int] | None:
    """Return the ranks of r50k_base or p50k_base from GPT-2's encoder.json, if that is on this machine."""
    encoder = find_local(GPT2_ENCODER)
    if encoder is None:
        return None
    ranks = openai.ranks_in(encoder, PUBLISHED["gpt2"].special_tokens)
    if name == "p50k_base":  # for code: runs of 2 to 25 spaces, after <|endoftext|>
        ranks |= {b" " * n: 50255 + n for n in range(2, 26)}
    digest = hashlib.sha256(tiktoken.to_text(ranks).encode()).hexdigest()
    return ranks if digest == PUBLISHED[name].files[0].sha256 else None
