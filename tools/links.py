"""Ask every external address in the texts and in the data registry whether it still answers."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
ADDRESS = re.compile(r"https?://[^\s<>)\"'`\]]+")


def addresses() -> dict[str, str]:
    """Each external address, and the first tracked file that names it. Tests and notebooks' outputs do not count."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md", "*.py", "*.json", "*.toml", "*.cff"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = {}
    for name in listed.stdout.split("\n"):
        if not name or "tests/" in name or not (ROOT / name).exists():
            continue
        for address in ADDRESS.findall((ROOT / name).read_text(encoding="utf-8")):
            if "127.0.0.1" not in address and "localhost" not in address:
                found.setdefault(address.rstrip(".,;:"), name)
    return found


def answers(address: str) -> str | None:
    """None where the address answers, else why not."""
    request = urllib.request.Request(address, headers={"User-Agent": "dlpapers-links", "Range": "bytes=0-0"})
    try:
        with urllib.request.urlopen(request, timeout=30):
            return None
    except OSError as error:
        return str(error)


def main() -> int:
    """Exit status 1 if any address does not answer."""
    dead = 0
    for address, name in sorted(addresses().items()):
        problem = answers(address)
        dead += problem is not None
        print(f"{'ok  ' if problem is None else 'DEAD'} {address} ({name}) {problem or ''}", flush=True)
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
