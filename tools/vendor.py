"""Copy the files of shared/vendored/ into the packages that use them, as shared/vendored/manifest.toml says.

`vendor.py` writes the copies; `vendor.py --check` compares them and exits with 1 if one differs.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "shared" / "vendored"
ALWAYS = ("__init__", "errors")


def copies() -> dict[Path, bytes]:
    """Every copy that should exist: its path and its content."""
    manifest = tomllib.loads((SOURCE / "manifest.toml").read_text(encoding="utf-8"))
    found = {}
    for package, names in manifest.items():
        folder = ROOT / "shared" if package == "shared" else ROOT / "packages" / package
        if not folder.is_dir():
            raise ValueError(f"{SOURCE / 'manifest.toml'}: there is no package {package}")
        (init,) = folder.glob("src/*/__init__.py")
        for name in (*ALWAYS, *names):
            file = name if "." in name else f"{name}.py"
            found[init.parent / "_common" / file] = (SOURCE / file).read_bytes()
    return found


def differences() -> list[Path]:
    """The copies that are missing or differ from their source, and files that have no source."""
    wanted = copies()
    present = {*ROOT.glob("shared/src/*/_common/*.*"), *ROOT.glob("packages/*/src/*/_common/*.*")}
    wrong = [p for p, content in wanted.items() if not p.is_file() or p.read_bytes() != content]
    return sorted({*wrong, *(present - wanted.keys())})


def main(arguments: list[str]) -> int:
    """Write or check the copies; exit status 1 if a check fails."""
    wrong = differences()
    if "--check" in arguments:
        for path in wrong:
            print(f"{path.relative_to(ROOT)}: differs from shared/vendored")
        return 1 if wrong else 0
    wanted = copies()
    for path in wrong:
        if path in wanted:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(wanted[path])
        else:
            path.unlink()
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
