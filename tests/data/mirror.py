"""A small web server on this machine, for downloads: it knows ranges, and can cut connections.

In: files by path. Out: `Mirror`, a context manager with an address; `requests` lists (path, range) as they came.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Mirror:
    """`cuts`: of the first answers, how many bytes go out before the connection is cut. `ranges`: whether it knows them."""

    def __init__(self, files: dict[str, bytes], cuts: list[int] | None = None, ranges: bool = True, code: int = 200) -> None:
        self.files, self.cuts, self.ranges, self.code = files, list(cuts or []), ranges, code
        self.requests: list[tuple[str, str | None]] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        data = self.files.get(handler.path)
        if data is None or self.code != 200:
            handler.send_error(404 if self.code == 200 else self.code)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if start >= len(data) > 0:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(data)}")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        end = start + self.cuts.pop(0) if self.cuts else len(data)
        handler.wfile.write(data[start:end])

    def __enter__(self) -> Mirror:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
