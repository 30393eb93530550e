"""Build the documentation site: `python tools/site_build.py [--out build/site]`, then open build/site/html/index.html.

The pages are the texts of the repository (READMEs, notebooks, results, docs/) and pages made from its source
(annotated modules, API reference, textbook and fast twins, mistakes). Nothing is copied by hand, and links between
files become links between pages. A warning of Sphinx and a link that leads nowhere are errors. After the first call,
which downloads KaTeX and Mermaid from the npm registry, a build needs no network.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

import site_links
import site_pages
from readme_blocks import NO_NETWORK
from site_tree import IMAGES, ROOT, SiteError

SITE = ROOT / "docs" / "site"


def fetch_assets(folder: Path) -> None:
    """Bring the files that docs/site/assets.toml lists into `folder`; the hash of each archive is checked."""
    for name, asset in tomllib.loads((SITE / "assets.toml").read_text(encoding="utf-8")).items():
        target, stamp = folder / name, folder / name / "sha256.txt"
        if stamp.exists() and stamp.read_text(encoding="utf-8") == asset["sha256"]:
            continue
        npm = shutil.which("npm")
        if npm is None:
            raise SiteError("the site needs Node.js with npm. Install it, for example with apt-get install nodejs npm")
        with tempfile.TemporaryDirectory() as temporary:
            wanted = f"{asset['package']}@{asset['version']}"
            command = [npm, "pack", "--silent", "--pack-destination", temporary, wanted]
            if subprocess.run(command, cwd=temporary, check=False).returncode:
                raise SiteError(f"npm cannot download {wanted}")
            archive = next(Path(temporary).glob("*.tgz"))
            if hashlib.sha256(archive.read_bytes()).hexdigest() != asset["sha256"]:
                raise SiteError(f"{wanted}: the archive has another sha256 than docs/site/assets.toml")
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            with tarfile.open(archive) as tar:
                for member in tar:
                    inside = member.name.partition("/")[2]
                    if any(fnmatch.fnmatchcase(inside, pattern) for pattern in asset["files"]):
                        file = tar.extractfile(member)
                        assert file is not None
                        path = target / inside.removeprefix("dist/")
                        path.parent.mkdir(exist_ok=True)
                        path.write_bytes(file.read())
        stamp.write_text(asset["sha256"], encoding="utf-8")
    served = folder / "served"  # what the site holds of it: KaTeX itself runs at build time only
    shutil.rmtree(served, ignore_errors=True)
    shutil.copytree(
        folder, served, ignore=lambda _, names: [n for n in names if n in ("served", "katex.min.js", "sha256.txt")]
    )


def run_sphinx(source: Path, out: Path, assets: Path) -> None:
    """Write the HTML; warnings are errors, and there is no network."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-j", "auto"]
    command += ["-c", str(SITE), "-d", str(out / "doctrees"), str(source), str(out / "html")]
    environment = {**os.environ, **NO_NETWORK, "DLPAPERS_SITE_ROOT": str(ROOT), "DLPAPERS_SITE_ASSETS": str(assets)}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    if subprocess.run(command, env=environment, check=False).returncode:
        raise SiteError("Sphinx reported warnings (above)")


def copy_images(source: Path, html: Path) -> None:
    """Copy the images of the texts: raw HTML names them where they are in the repository."""
    for path in source.rglob("*"):
        if path.suffix in IMAGES:
            target = html / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def main(arguments: list[str]) -> int:
    """Build the site and check its links."""
    parser = argparse.ArgumentParser(description="Build the documentation site and check its links.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="Folder of the site.")
    parser.add_argument("--fresh", action="store_true", help="Build every page again.")
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    start = time.monotonic()
    if options.fresh:
        for name in ("pages", "doctrees", "html"):
            shutil.rmtree(out / name, ignore_errors=True)
    try:
        fetch_assets(out / "assets")
        problems = site_pages.write_all(out / "pages")
        run_sphinx(out / "pages", out, out / "assets")
        copy_images(out / "pages", out / "html")
        problems += site_links.problems(out / "html")
    except SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    pages = sum(1 for _ in (out / "html").rglob("*.html"))
    print(json.dumps({"pages": pages, "seconds": round(time.monotonic() - start), "broken_links": len(problems)}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
