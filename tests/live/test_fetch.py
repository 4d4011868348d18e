"""A detector that is fetched by its hash, from a server of this test."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fer_lab.errors import FerLabError
from fer_lab.live.fetch import detector_path
from fer_lab.schema import compose

CONTENT = b"a detector"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def address(tmp_path, monkeypatch):
    """Of a server that knows /yunet.onnx; pooch's folder is under tmp_path."""
    pytest.importorskip("pooch", reason="the live extra is not installed")
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "yunet.onnx").write_bytes(CONTENT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "www"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_nothing_is_fetched_unless_that_is_said():
    assert detector_path(None, "http://127.0.0.1:1/x", HASH) is None
    assert detector_path("my.onnx", "http://127.0.0.1:1/x", HASH) == Path("my.onnx")
    assert compose("live").live.detector_file is None


def test_fetched_once(address, tmp_path):
    path = detector_path("fetch", f"{address}/yunet.onnx", HASH)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache" / "fer_lab")
    (tmp_path / "www" / "yunet.onnx").unlink()
    assert detector_path("fetch", f"{address}/yunet.onnx", HASH) == path


def test_another_file_than_expected_is_refused(address, tmp_path):
    with pytest.raises(FerLabError, match=r"yunet\.onnx does not give the file with sha256 00000000\.\.\."):
        detector_path("fetch", f"{address}/yunet.onnx", "0" * 64)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_no_file_and_no_network(address):
    for url in (f"{address}/nothing.onnx", "http://127.0.0.1:1/yunet.onnx"):
        with pytest.raises(FerLabError, match=r"give a YuNet \.onnx file, or null for OpenCV's Haar cascade"):
            detector_path("fetch", url, HASH)
