"""Empty folders, a registry of one's own, a server that serves well and badly; and how figures are looked at."""

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dlpapers_shared import data
from dlpapers_shared.data import Entry
from dlpapers_shared.viz.style import Figure

BODY = bytes(range(256)) * 800  # 204,800 bytes: several chunks


class Server:
    """Serves BODY at /good; /truncate, /short, /corrupt, /stall, /silent do what they say; else 404."""

    def __init__(self):
        self.requests, self.encodings = [], []
        self.over = threading.Event()  # ends the stalls
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                outer.encodings.append(self.headers["Accept-Encoding"])
                how, half = self.path.strip("/"), BODY[: len(BODY) // 2]
                if how == "silent":
                    outer.over.wait()
                elif how == "good":
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

            def answer(self, sent, headers=()):
                self.send_response(200)
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
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # where a proxy is set, it is not asked for this machine
    monkeypatch.setattr(data, "STALL", 3600.0)  # on a busy machine, slow is not stalled
    running = Server()
    yield running
    running.close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Empty folders in place of $DLPAPERS_DATA_DIR and of the user's cache."""
    folders = {name: tmp_path / name for name in ("data", "cache")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("DLPAPERS_DATA_DIR", str(folders["data"]))
    monkeypatch.setattr(data, "cache_dir", lambda: folders["cache"])
    return folders


@pytest.fixture
def register(monkeypatch):
    """`register("a.txt", b"...", url)` puts a file into an otherwise empty registry."""
    entries = {}
    monkeypatch.setattr(data, "registry", lambda: entries)

    def put(name, body, url="http://127.0.0.1:9/nobody", **more):
        fields = {"licence": "L", "citation": "C", "about": "A", "bytes": len(body)} | more
        entries[name] = Entry(name=name, url=url, sha256=hashlib.sha256(body).hexdigest(), **fields)
        return entries[name]

    return put


@pytest.fixture
def zipped():
    """`zipped({"folder/a.txt": b"..."})`: a zip of these members, as bytes."""

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
    """`render(figure)` draws it really (a warning, of a missing glyph for one, is an error) and returns it."""

    def draw(figure):
        assert isinstance(figure, Figure)
        figure.savefig(io.BytesIO(), format="png", dpi=40)
        return figure

    return draw


@pytest.fixture
def texts():
    """`texts(labels)`: what some texts of a figure say."""
    return lambda labels: [label.get_text() for label in labels]
