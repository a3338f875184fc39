"""A webhook endpoint on the other side: takes what is posted, and answers as it is told."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import stripe

from tests.support.waiting import wait_until


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the 5 of the default, what comes at once waits a second


@dataclass(frozen=True)
class Delivered:
    """One POST, as it came."""

    path: str
    signature: str
    body: bytes

    def event(self, secret: str) -> stripe.Event:
        """The event, once the client has checked its signature."""
        checked = stripe.Webhook.construct_event(self.body, self.signature, secret)
        assert isinstance(checked, stripe.Event)
        return checked


@dataclass
class Receiver:
    """Answers `status`, once `gate` is open; `taken` is what came, in order."""

    status: int = 200
    taken: list[Delivered] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.gate.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.taken.append(Delivered(self.path, self.headers["Stripe-Signature"], body))
                receiver.gate.wait(20)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def wait(self, count: int) -> list[Delivered]:
        """What came, once that is `count` deliveries."""
        wait_until(lambda: len(self.taken) >= count, what=f"{count} deliveries")
        return list(self.taken)
