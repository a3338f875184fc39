"""An identity provider's JWKS URL, over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class IdentityProvider:
    """`document` is what it answers; `status` may say that it is not well."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.status = 200
        self.asked = 0
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        handler.send_response(self.status)
        handler.send_header("Content-Length", str(len(self.document)))
        handler.end_headers()
        handler.wfile.write(self.document)


@contextmanager
def publishing(document: bytes) -> Iterator[IdentityProvider]:
    provider = IdentityProvider(document)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.answer(self)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        provider.url = f"http://127.0.0.1:{server.server_port}/jwks.json?tenant=1"
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
