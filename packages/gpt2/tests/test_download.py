"""`gpt2 download` from a local server that drops the connection, ignores ranges, or sends another file."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gpt2.pretrained.download
import pytest
import torch
from gpt2 import GPT2, GPT2Config
from gpt2.pretrained.download import PUBLISHED, Published, download
from gpt2.pretrained.weights import write_config
from helpers_models import SMALL, small_model


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, body, start = self.server, self.server.body, 0
        server.asked.append(self.headers.get("Range"))
        if self.path != "/model.safetensors":
            self.send_error(404)
            return
        if server.ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : server.breaks.pop(0) if server.breaks else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve the weights of a small model in place of the published ones."""
    small_model(torch.float32).save_pretrained(tmp_path / "published")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body = (tmp_path / "published/model.safetensors").read_bytes()
    server.ranges, server.breaks, server.asked = True, [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/model.safetensors"
    pinned = Published(server.url, hashlib.sha256(server.body).hexdigest(), len(server.body))
    monkeypatch.setitem(PUBLISHED, "124M", pinned)
    monkeypatch.setattr(gpt2.pretrained.download, "write_config", lambda _, out: write_config(GPT2Config(**SMALL), out))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_interrupted_download_resumes(server, tmp_path):
    out, size = tmp_path / "out", len(server.body)
    server.breaks = [1000, 30_000]
    for have in (1000, 30_000):
        with pytest.raises(ValueError, match="same command again to resume"):
            download("124M", out)
        assert [p.name for p in out.iterdir()] == ["model.safetensors.part"]
        assert (out / "model.safetensors.part").stat().st_size == have
    calls = []
    download("124M", out, progress=lambda *both: calls.append(both))
    assert server.asked == [None, "bytes=1000-", "bytes=30000-"]
    assert calls[-1] == (size, size)
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "generation_config.json", "model.safetensors"]
    ids = torch.arange(9)[None]
    assert torch.equal(GPT2.from_pretrained(out)(ids), small_model(torch.float32)(ids))
    download("124M", out)  # it is there
    assert len(server.asked) == 3


def test_a_server_without_ranges_sends_the_whole_file(server, tmp_path):
    server.ranges, server.breaks = False, [1000]
    with pytest.raises(ValueError, match="1,000 of 167,312 bytes"):
        download("124M", tmp_path)
    download("124M", tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == server.body


def test_a_file_with_another_hash_is_deleted(server, tmp_path):
    server.body = server.body[:-1] + b"?"
    with pytest.raises(ValueError, match="SHA-256 differs"):
        download("124M", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_unavailable_files_are_errors(server, tmp_path):
    with pytest.raises(ValueError, match="`size` must be one of 124M, got '774M'"):
        download("774M", tmp_path / "out")
    with pytest.raises(ValueError, match="404"):
        download("124M", tmp_path / "out", server.url + "x")
    with pytest.raises(ValueError, match="refused"):
        download("124M", tmp_path / "out", "http://127.0.0.1:9/model.safetensors")
