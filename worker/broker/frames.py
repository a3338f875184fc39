"""NSQ's frames: a length (4 bytes, signed), a type (4), and the data."""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence

from nsq.connection import Connection
from nsq.response import Response

from worker.broker.config import MAX_FRAME
from worker.broker.faults import Broken

_LENGTH = struct.Struct(">l")


def take_frames(buffer: bytearray, connection: Connection) -> Generator[Response, None, None]:
    """Whole frames out of `buffer`, which keeps the rest; a partial one waits there for its end.

    Broken for a length that nsqd never sends, a type it does not have, and a message without its header. What was taken
    leaves the buffer when the generator ends or is closed; don't touch it before.
    """
    end = 0
    view = memoryview(buffer)
    try:
        while len(view) - end >= 4:
            size = _size(view, end)
            if len(view) - end - 4 < size:
                break
            start, end = end + 4, end + 4 + size
            yield _decode(connection, bytes(view[start:end]))
    finally:
        view.release()
        del buffer[:end]


def pack(message: bytes | Sequence[bytes]) -> bytes:
    """A body with its length, or an MPUB's several; like nsq-py's `pack` without copies of copies."""
    if isinstance(message, bytes):
        return _LENGTH.pack(len(message)) + message
    parts = [part for body in message for part in (_LENGTH.pack(len(body)), body)]
    inner = _LENGTH.pack(len(message)) + b"".join(parts)
    return _LENGTH.pack(len(inner)) + inner


def _size(view: memoryview, start: int) -> int:
    size: int = _LENGTH.unpack_from(view, start)[0]
    if not 4 <= size <= MAX_FRAME:
        raise Broken("bad_frame", f"a length of {size}")
    return size


def _decode(connection: Connection, raw: bytes) -> Response:
    try:
        return Response.from_raw(connection, raw)
    except (TypeError, struct.error) as exc:
        raise Broken("bad_frame", "unknown type or too short") from exc
