"""A driver of headless Chromium through its DevTools pipe; it needs no package, only the browser."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# headless, as root in a container too, and silent on the network
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OPTIONS += [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--window-size=1200,900",
]


def installed() -> str | None:
    """Return the path of a Chromium that this driver can start, or None."""
    return None if sys.platform == "win32" else next(filter(None, map(shutil.which, NAMES)), None)


# Chromium expects the two pipes as descriptors 3 and 4; copies above 9 cannot be in the way
LAUNCH = """
import fcntl, os, sys
copies = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
os.dup2(copies[0], 3), os.dup2(copies[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page of a headless Chromium: it reads commands from file descriptor 3 and writes answers to 4."""

    def __init__(self, program: str, profile: Path) -> None:
        their_in, self.out = os.pipe()
        self.inp, their_out = os.pipe()
        self.count, self.buffer = 0, b""
        self.events: list[dict[str, Any]] = []
        command = [program, *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        launch = [sys.executable, "-IS", "-c", LAUNCH, str(their_in), str(their_out), *command]
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(launch, pass_fds=(their_in, their_out), **quiet)
        os.close(their_in)
        os.close(their_out)
        self.session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def read(self, seconds: float = 120) -> dict[str, Any]:
        """Return the next message."""
        until = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            if not select.select([self.inp], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            more = os.read(self.inp, 1 << 20)
            if not more:
                raise RuntimeError(f"Chromium ended ({self.process.wait()})")
            self.buffer += more
        message, _, self.buffer = self.buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result; events that arrive before it are appended to `events`."""
        self.count += 1
        command = {"id": self.count, "method": method, "params": parameters}
        if self.session is not None:
            command["sessionId"] = self.session
        os.write(self.out, json.dumps(command).encode() + b"\0")
        while (message := self.read()).get("id") != self.count:
            self.events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file, with a fragment of the address if given, and wait until its script has run."""
        self.events.clear()
        self.send("Page.navigate", url="about:blank")  # a new fragment alone would not load the page again
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.read())
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri() + fragment)
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.read())

    def js(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def middle(self, selector: str, number: int = 0) -> dict[str, float]:
        """Scroll the n-th element of a selector into view and return its center on the screen."""
        box = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        code = "(e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
        code += " return {x: r.x + r.width / 2, y: r.y + r.height / 2} })"
        found: dict[str, float] = self.js(f"{code}({box})")
        return found

    def mouse(self, selector: str, number: int = 0, *, click: bool = False) -> None:
        """Move the mouse to an element; optionally click it."""
        at = self.middle(selector, number)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", **at)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def tap(self, selector: str, number: int = 0) -> None:
        """Tap an element."""
        at = self.middle(selector, number)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[at])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, name: str) -> None:
        """Press and release a key by its name, such as ArrowDown."""
        codes = {"Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        codes |= {"PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "Enter": 13}
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=codes[name])

    def picture(self, path: Path) -> None:
        """Write a screenshot as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def close(self) -> None:
        """End the browser."""
        self.session = None
        try:
            self.send("Browser.close")
        except (RuntimeError, OSError):  # it may be gone before it answers
            self.process.kill()
        self.process.wait(60)
        os.close(self.out)
        os.close(self.inp)
