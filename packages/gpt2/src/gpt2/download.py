"""OpenAI's weights from where they are published: checked against a pinned sha256, resumed where a download broke off.

pooch, which fetches files elsewhere in this collection, begins again after a break; half a gigabyte is worth a Range.
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

from gpt2.model import GPT2Config
from gpt2.pretrained import CONFIG, WEIGHTS, config_to_hf, write_json

BLOCK = 2**20
STALL = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Published:
    """One file: its address, what it must hash to, its size."""

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
    """Put OpenAI's model of a size into `out`, a folder that `GPT2.from_pretrained` loads; nothing if it is there.

    `url`: a mirror of the file. `progress(done, total)` is called with bytes. ValueError for a size that is not
    pinned here, an address that does not answer, a download that broke off (the next call goes on with it), or a file
    with another sha256 (nothing of it is kept).
    """
    if size not in PUBLISHED:
        raise ValueError(f"size: {size!r} is not pinned here; there is {', '.join(PUBLISHED)}")
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
            raise ValueError(f"{url}: not the published {size}, its sha256 differs; nothing was kept")
        part.replace(target)
    write_json(out / CONFIG, config_to_hf(GPT2Config.named(size)))
    return out


def _receive(url: str, part: Path, size: int, progress: Callable[[int, int], object]) -> None:
    """Append to `part` what is missing of the file at `url`."""
    have = part.stat().st_size if part.exists() else 0
    if (free := shutil.disk_usage(part.parent).free) < size - have:
        raise ValueError(f"{part.parent}: {free:,} bytes are free, {size - have:,} are needed")
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=STALL) as answer, part.open("ab") as file:
            if have and answer.status != 206:  # a server that knows no ranges sends the file from its beginning
                file.truncate(0)
                have = 0
            while block := answer.read(BLOCK):
                file.write(block)
                have += len(block)
                progress(have, size)
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url}: the server answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.IncompleteRead) as error:
        kept = f"; {have:,} bytes are kept, the same command goes on from there" if have else ""
        raise ValueError(f"{url}: {getattr(error, 'reason', None) or 'the connection broke off'}{kept}") from None
    if have < size:
        raise ValueError(
            f"{url}: ended after {have:,} bytes of {size:,}; they are kept, the same command goes on from there"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
