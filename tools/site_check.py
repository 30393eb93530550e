"""Visit every page of the built site in headless Chromium: `python tools/site_check.py [--site build/site/html]`.

A page must load without a request to anywhere else, without an error in the console, and without being wider than a
phone. The search must find `byte_pair_merge` from a file:// address. `--pictures FOLDER` writes screenshots of the main
kinds of pages, at 1400 and 390 pixels, light and dark.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SEARCHES = {"byte_pair_merge": "merge", "label smoothing": "loss"}  # a query, and what an address among the hits holds
PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1400, height=950)


def installed() -> str | None:
    """A Chromium of this machine, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Watch:
    """What a page asks for and complains about while it loads."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        page.on(
            "console", lambda m: self.found.append(f"console: {m.text}") if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.found.append(f"not loaded: {request.url}"))
        page.on("request", self.request)

    def request(self, request: Any) -> None:
        """Note a request that leaves the site."""
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.found.append(f"request to {request.url}")

    def take(self) -> list[str]:
        """What was found since the last time."""
        found, self.found = self.found, []
        return found


def visit(browser: Browser, site: Path) -> list[str]:
    """One line for each fault of each page, as a phone shows it."""
    page = browser.new_page(viewport=PHONE)
    watch, faults = Watch(page), []
    for path in sorted(site.rglob("*.html")):
        where = path.relative_to(site)
        page.goto(path.as_uri(), wait_until="load")
        faults += [f"{where}: {fault}" for fault in watch.take()]
        if (width := page.evaluate("document.documentElement.scrollWidth")) > PHONE["width"]:
            faults.append(f"{where}: {width} pixels wide on a phone")
        if page.locator("pre.mermaid").count():
            page.wait_for_selector("pre.mermaid svg", timeout=20_000)
    page.close()
    return faults


def search(browser: Browser, site: Path) -> list[str]:
    """One line for each search that does not find what it must."""
    page = browser.new_page(viewport=DESK)
    watch, faults = Watch(page), []
    for query, expected in SEARCHES.items():
        page.goto(f"{(site / 'search.html').as_uri()}?q={query.replace(' ', '+')}")
        page.wait_for_selector("#search-results ul.search li, #search-results p.search-summary:has-text('not match')")
        page.wait_for_timeout(300)
        hits = page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.getAttribute('href'))")
        if not any(expected in hit for hit in hits):
            faults.append(f"search: {query!r} finds {hits[:5]}")
        faults += [f"search: {fault}" for fault in watch.take()]
    page.close()
    return faults


def pictures(browser: Browser, site: Path, folder: Path, pages: list[str]) -> None:
    """Screenshots of pages at two widths, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in pages:
        for size, viewport in (("1400", DESK), ("390", PHONE)):
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport=viewport, color_scheme=scheme)
                page.goto((site / name).as_uri())
                page.wait_for_timeout(400)
                page.screenshot(path=folder / f"{name.replace('/', '-').removesuffix('.html')}-{size}-{scheme}.png")
                page.close()


def main(arguments: list[str]) -> int:
    """Visit every page; exit status 1 if one has a fault."""
    parser = argparse.ArgumentParser(description="Visit every page of the built site in headless Chromium.")
    parser.add_argument("--site", type=Path, default=ROOT / "build" / "site" / "html", help="Folder of the HTML.")
    parser.add_argument("--pictures", type=Path, help="Write screenshots into this folder, instead of the checks.")
    parser.add_argument("pages", nargs="*", help="Pages for --pictures, relative to the folder.")
    options = parser.parse_args(arguments)
    program, site, start = installed(), options.site.resolve(), time.monotonic()
    if program is None:
        print("error: no Chromium found. Install it, for example with apt-get install chromium", file=sys.stderr)
        return 1
    if not (site / "index.html").exists():
        print(f"error: {options.site}: no site here. Build it with `python tools/site_build.py`", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        if options.pictures:
            pictures(browser, site, options.pictures, options.pages or ["index.html"])
            return 0
        faults = visit(browser, site) + search(browser, site)
        browser.close()
    for fault in faults:
        print(fault, file=sys.stderr)
    pages = sum(1 for _ in site.rglob("*.html"))
    print(json.dumps({"pages": pages, "faults": len(faults), "seconds": round(time.monotonic() - start)}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
