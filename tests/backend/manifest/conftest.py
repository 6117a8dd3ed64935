"""An empty store for each test, and a small web server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@pytest.fixture
def store_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$EARTHPRISM_HOME of its own; returns the folder of installed packages."""
    home = tmp_path / "home"
    monkeypatch.setenv("EARTHPRISM_HOME", str(home))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return home / "models"


@dataclass
class Web:
    """Serves `files`; the switches make it a bad server, `requests` tells path and Range of each request."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    etag: str = '"1"'
    ranges: bool = True
    length: bool = True
    breaks: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    wrong_range: bool = False
    status: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            web.requests.append((self.path, asked))
            name = self.path.rpartition("/")[2]
            if web.status or name in web.redirects or name not in web.files:
                self.send_response(web.status or (302 if name in web.redirects else 404))
                if name in web.redirects:
                    self.send_header("Location", web.redirects[name])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(web.files[name], asked)

        def _send(self, content: bytes, asked: str) -> None:
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            partial = bool(asked) and web.ranges and self.headers.get("If-Range") == web.etag
            if partial and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = content[start:] if partial else content
            self.send_response(206 if partial else 200)
            if web.etag:
                self.send_header("ETag", web.etag)
            if partial:
                first = start + 1 if web.wrong_range else start
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            if web.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            stop = web.breaks.pop(0) if web.breaks else len(body)
            with contextlib.suppress(ConnectionError):  # a cancelled download hangs up
                self.wfile.write(body[:stop])
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the requests are recorded."""

    return Handler


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server on this computer."""
    state = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
