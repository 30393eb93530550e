"""OpenAI's published vocabularies: which files, with which hash, pattern and special tokens; and getting them.

A file is looked for in $DLPAPERS_DATA_DIR/tokenizer, then in tiktoken's cache ($TIKTOKEN_CACHE_DIR), then in this
package's cache; only then is it downloaded. Wherever it comes from, its SHA-256 has to be the published one.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

_BASE = "https://openaipublic.blob.core.windows.net/"
_EOT = "<|endoftext|>"


@dataclass(frozen=True)
class File:
    """A file to download: where from, and its hash."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Published:
    """A vocabulary: its one `.tiktoken` file, or encoder.json and vocab.bpe."""

    pattern: str
    files: tuple[File, ...]
    special_tokens: dict[str, int] = field(default_factory=lambda: {_EOT: 50256})


_ENCODER = File(
    _BASE + "gpt-2/encodings/main/encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
)
_MERGES = File(
    _BASE + "gpt-2/encodings/main/vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
)
_R50K = File(_BASE + "encodings/r50k_base.tiktoken", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930")
_P50K = File(_BASE + "encodings/p50k_base.tiktoken", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069")
_CL100K = File(
    _BASE + "encodings/cl100k_base.tiktoken", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
)
_O200K = File(
    _BASE + "encodings/o200k_base.tiktoken", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
)
_FIM = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}

PUBLISHED = {
    "gpt2": Published("gpt2", (_ENCODER, _MERGES)),
    "r50k_base": Published("gpt2", (_R50K,)),
    "p50k_base": Published("gpt2", (_P50K,)),
    "cl100k_base": Published("cl100k", (_CL100K,), {_EOT: 100257, **_FIM, "<|endofprompt|>": 100276}),
    "o200k_base": Published("o200k", (_O200K,), {_EOT: 199999, "<|endofprompt|>": 200018}),
}
BY_HASH = {entry.files[0].sha256: entry for name, entry in PUBLISHED.items() if name != "gpt2"}


def local(file: File) -> Path | None:
    """Where a file lies on this machine. One of the right name and the wrong hash is passed over."""
    places = []
    if folder := os.environ.get("DLPAPERS_DATA_DIR"):
        places.append(Path(folder) / "tokenizer" / file.name)
    if folder := os.environ.get("TIKTOKEN_CACHE_DIR"):
        places.append(Path(folder) / hashlib.sha1(file.url.encode()).hexdigest())  # tiktoken's names are such hashes
    for place in places:
        if place.is_file() and hashlib.sha256(place.read_bytes()).hexdigest() == file.sha256:
            return place
    return None


def fetch(file: File) -> Path:
    """Where a file lies, downloaded if need be."""
    if place := local(file):
        return place
    import pooch  # type: ignore[import-untyped]

    pooch.get_logger().setLevel("WARNING")  # it would announce the download on stderr
    cache = pooch.os_cache("dlpapers") / "tokenizer"
    bar = sys.stderr.isatty()
    try:
        return Path(pooch.retrieve(file.url, f"sha256:{file.sha256}", fname=file.name, path=cache, progressbar=bar))
    except OSError as error:
        raise OSError(f"{file.name} is not on this machine, and {file.url} cannot be reached: {error}") from None


def get_encoding(name: str, *, engine: Literal["auto", "python", "numba"] = "auto") -> Tokenizer:
    """A published tokenizer: gpt2, r50k_base, p50k_base, cl100k_base or o200k_base. Downloaded once, hash-checked.

    r50k_base and p50k_base are made from GPT-2's files where only those are there.
    """
    from bpe.formats import openai, tiktoken_file
    from bpe.tokenizer import Tokenizer

    if name not in PUBLISHED:
        raise ValueError(f"name: {name!r} is not one of {', '.join(PUBLISHED)}")
    entry = PUBLISHED[name]
    ranks = _from_gpt2(name) if name in ("r50k_base", "p50k_base") and local(entry.files[0]) is None else None
    if ranks is None:
        paths = [fetch(file) for file in entry.files]
        if name == "gpt2":
            ranks = openai.ranks_in(paths[0], entry.special_tokens)
        else:
            ranks = tiktoken_file.parse(paths[0].read_bytes(), paths[0])
    return Tokenizer(ranks, pattern=entry.pattern, special_tokens=entry.special_tokens, engine=engine)


def _from_gpt2(name: str) -> dict[bytes, int] | None:
    """The ranks of r50k_base or p50k_base from GPT-2's encoder.json, if that is on this machine."""
    from bpe.formats import openai, tiktoken_file

    encoder = local(_ENCODER)
    if encoder is None:
        return None
    ranks = openai.ranks_in(encoder, PUBLISHED["gpt2"].special_tokens)
    if name == "p50k_base":  # for code: runs of 2 to 25 spaces, behind <|endoftext|>
        ranks |= {b" " * n: 50255 + n for n in range(2, 26)}
    same = hashlib.sha256(tiktoken_file.to_text(ranks).encode()).hexdigest() == PUBLISHED[name].files[0].sha256
    return ranks if same else None
