"""Download OpenAI's weights: checked against a pinned SHA-256; an interrupted download resumes.

pooch, a common downloader, starts again after an interruption; half a gigabyte is worth a Range request.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpt2._common.errors import check_choice
from gpt2._common.run_folder import WEIGHTS
from gpt2.config import GPT2Config
from gpt2.pretrained.weights import write_config

BLOCK_BYTES = 2**20
TIMEOUT_SECONDS = 60.0  # without a byte


@dataclass(frozen=True)
class Published:
    """One published file: its address, SHA-256, and size in bytes."""

    url: str
    sha256: str
    size: int


PUBLISHED = {
    "124M": Published(
        "https://huggingface.co/openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e/model.safetensors",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        548_105_171,
    )
}


def download(
    size: str, out: Path, url: str | None = None, progress: Callable[[int, int], object] = lambda done, total: None
) -> Path:
    """Download OpenAI's model of a size into `out`, a folder for `GPT2.from_pretrained`; return it.

    A complete file is not downloaded again, a partial one is continued. url: a mirror of the file.
    `progress(done, total)` is called with bytes.
    Raises: ValueError for a size without a pinned file, a server that does not answer, an interrupted download (whose
    bytes are kept), or a file with another SHA-256 (which is deleted).
    """
    check_choice("size", size, PUBLISHED)
    wanted = PUBLISHED[size]
    out.mkdir(parents=True, exist_ok=True)
    target = out / WEIGHTS
    if not (target.exists() and _sha256(target) == wanted.sha256):
        part = out / f"{WEIGHTS}.part"
        url = url or wanted.url
        if not part.exists() or part.stat().st_size < wanted.size:
            _receive(url, part, wanted.size, progress)
        if _sha256(part) != wanted.sha256:
            part.unlink()
            raise ValueError(f"{url}: not the published {size}: its SHA-256 differs. The file was deleted")
        part.replace(target)
    write_config(GPT2Config.named(size), out)
    return out


def _receive(url: str, part: Path, size: int, progress: Callable[[int, int], object]) -> None:
    """Append to `part` the rest of the file at `url`."""
    have = part.stat().st_size if part.exists() else 0
    if (free := shutil.disk_usage(part.parent).free) < size - have:
        raise ValueError(f"{part.parent}: {size - have:,} bytes are needed, {free:,} are free")
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    resume = "Run the same command again to resume"
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, part.open("ab") as file:
            if have and answer.status != 206:  # a server without ranges sends the whole file
                file.truncate(0)
                have = 0
            while block := answer.read(BLOCK_BYTES):
                file.write(block)
                have += len(block)
                progress(have, size)
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url}: the server answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.IncompleteRead) as error:
        kept = f". {have:,} bytes are kept. {resume}" if have else ""
        raise ValueError(f"{url}: {getattr(error, 'reason', None) or 'the connection was interrupted'}{kept}") from None
    if have < size:
        raise ValueError(f"{url}: ended after {have:,} of {size:,} bytes, which are kept. {resume}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
