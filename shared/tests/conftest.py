"""Fixtures: empty data folders, a registry for a test, a server that works and fails, and helpers for figures."""

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dlpapers_shared import data, download
from dlpapers_shared.data import Entry
from dlpapers_shared.viz.style import Figure

BODY = bytes(range(256)) * 800  # 204,800 bytes: several chunks


class Server:
    """Serves BODY at /good; /truncate, /short, /corrupt, /stall, /silent, /busy do as named; else 404.

    /break breaks the first connection after half of the file, /busy-once answers 503 to the first request, /norange
    breaks like /break and then ignores Range, /slow-start waits before it sends, /drip
    sends at most 64 KiB for each connection. `ranges` holds the Range headers.
    """

    def __init__(self):
        self.requests, self.encodings, self.ranges = [], [], []
        self.over = threading.Event()  # ends the stalls
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                outer.encodings.append(self.headers["Accept-Encoding"])
                outer.ranges.append(self.headers["Range"])
                how, half = self.path.strip("/"), BODY[: len(BODY) // 2]
                first = outer.requests.count(self.path) == 1
                if how == "silent":
                    outer.over.wait()
                elif how == "busy" or (how == "busy-once" and first):
                    self.send_error(503)
                elif how in ("break", "norange") and first:
                    self.answer(half, {"Content-Length": str(len(BODY))})
                elif how == "drip":
                    start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
                    more = {"Content-Length": str(len(BODY) - start)}
                    more |= {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"} if start else {}
                    self.answer(BODY[start : start + (1 << 16)], more, 206 if start else 200)
                elif self.headers["Range"] and how in ("break", "stall"):
                    start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                    self.answer(BODY[start:], {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"}, 206)
                elif how == "slow-start":
                    outer.over.wait(0.5)
                    self.answer(BODY)
                elif how in ("good", "busy-once", "norange"):
                    self.answer(BODY)
                elif how == "corrupt":
                    self.answer(bytes([BODY[0] ^ 1]) + BODY[1:])
                elif how == "truncate":  # promises all of it
                    self.answer(half, {"Content-Length": str(len(BODY))})
                elif how == "short":  # promises what it sends
                    self.answer(half)
                elif how == "stall":
                    self.answer(half, {"Content-Length": str(len(BODY))})
                    outer.over.wait()
                else:
                    self.send_error(404)

            def answer(self, sent, headers=(), status=200):
                self.send_response(status)
                for key, value in ({"Content-Length": str(len(sent))} | dict(headers)).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(sent)
                self.wfile.flush()

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # a proxy is not used for this machine
    monkeypatch.setattr(download, "STALL_SECONDS", 3600.0)  # on a busy machine, slow is not stalled
    monkeypatch.setattr(download, "RETRY_SECONDS", (0.0, 0.0))
    running = Server()
    yield running
    running.close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Empty folders instead of $DLPAPERS_DATA_DIR and of the user's cache."""
    folders = {name: tmp_path / name for name in ("data", "cache")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("DLPAPERS_DATA_DIR", str(folders["data"]))
    monkeypatch.setenv("DLPAPERS_CACHE_DIR", str(folders["cache"]))
    return folders


@pytest.fixture
def register(monkeypatch):
    """`register("a.txt", b"...", url)` adds a file to an otherwise empty registry."""
    entries = {}
    monkeypatch.setattr(data, "registry", lambda: entries)

    def put(name, body, url="http://127.0.0.1:9/nobody", **more):
        fields = {"license": "L", "citation": "C", "about": "A", "bytes": len(body)} | more
        entries[name] = Entry(name=name, url=url, sha256=hashlib.sha256(body).hexdigest(), **fields)
        return entries[name]

    return put


@pytest.fixture
def zipped():
    """`zipped({"folder/a.txt": b"..."})` returns a zip of these members, as bytes."""

    def make(members):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for name, body in members.items():
                file.writestr(name, body)
        return buffer.getvalue()

    return make


@pytest.fixture
def body():
    return BODY


@pytest.fixture
def render():
    """`render(figure)` draws the figure, so that a warning such as a missing glyph is an error, and returns it."""

    def draw(figure):
        assert isinstance(figure, Figure)
        figure.savefig(io.BytesIO(), format="png", dpi=40)
        return figure

    return draw


@pytest.fixture
def texts():
    """`texts(labels)` returns the strings of some texts of a figure."""
    return lambda labels: [label.get_text() for label in labels]
