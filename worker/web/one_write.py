"""An answer's head and body, sent in one call of the system."""

from __future__ import annotations

import asyncio

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""As uvicorn writes it, too."""


class OneWrite:
    """A transport that keeps what is written until `flush`: each call costs as much as all that uvicorn does for a
    request. Everything else is the transport's."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        for name in ("is_closing", "pause_reading", "resume_reading", "get_extra_info", "get_write_buffer_size"):
            setattr(self, name, getattr(transport, name))

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        if data == CONTINUE:  # the peer waits for it
            self.flush()

    def flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()
