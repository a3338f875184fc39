"""Cutting what is to be published into frames that nsqd takes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

MAX_BODY_BYTES = 5 * 1024 * 1024
"""nsqd's default --max-body-size, for the whole of one MPUB: the count, and each message with its length."""

MAX_MESSAGES = 10_000
"""So that one frame's answer comes in good time, however small its messages are."""


LENGTH = struct.Struct(">l")
"""A frame is a length (4 bytes, signed), a type (4), and the data."""


def split(bodies: Sequence[bytes], limit: int = MAX_BODY_BYTES) -> Iterator[list[bytes]]:
    """`bodies` in order, in frames whose MPUB stays within `limit` bytes; a body that is alone goes as PUB."""
    frame: list[bytes] = []
    size = 4
    for body in bodies:
        if frame and (size + 4 + len(body) > limit or len(frame) == MAX_MESSAGES):
            yield frame
            frame, size = [], 4
        frame.append(body)
        size += 4 + len(body)
    if frame:
        yield frame


def pack(message: bytes | Sequence[bytes]) -> bytes:
    """A body with its length, or an MPUB's several; like nsq-py's `pack` without copies of copies."""
    if isinstance(message, bytes):
        return LENGTH.pack(len(message)) + message
    parts = [part for body in message for part in (LENGTH.pack(len(body)), body)]
    inner = LENGTH.pack(len(message)) + b"".join(parts)
    return LENGTH.pack(len(inner)) + inner
