"""NSQ's protocol, where nsq-py leaves it to us: why a connection cannot go on (sockets', TLS's and nsqd's errors,
translated once), what is published cut into frames that nsqd takes, and nsq-py's logger, silenced.
"""

from __future__ import annotations

import logging
import re
import ssl
import struct
from collections.abc import Iterator, Sequence

from nsq.response import Error

from worker.errors import SubkeeperError

UNKNOWN = "E_UNKNOWN"
"""For what is no code of nsqd's."""

MAX_WORDS = 120
"""Characters of nsqd's own words that are kept."""

_QUOTING = re.compile(r"(?<=invalid command)|(?<=could not parse)|(?<=required before)|[^A-Za-z0-9 <>=/,()-]")
"""Behind what, or from which character on, nsqd repeats what it was sent."""


class Broken(Exception):
    """This connection cannot go on. `reason` is a constant to count by, `detail` is never a body or a secret; where
    nsqd refused something, it begins with nsqd's `code`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    @property
    def code(self) -> str:
        return self.detail.partition(" ")[0]


def broken_by(exc: OSError) -> Broken:
    """What a socket or TLS raised, in our words."""
    if isinstance(exc, ssl.SSLError):
        return Broken("tls_failed", str(exc.reason or type(exc).__name__))
    if isinstance(exc, TimeoutError):
        return Broken("timeout")
    return Broken("socket_error", system_words(exc))


def system_words(exc: Exception) -> str:
    """`Connection refused`, or the exception's type."""
    return str(getattr(exc, "strerror", None) or type(exc).__name__)


def error_code(response: Error) -> str:
    """`E_SOMETHING` out of nsqd's error."""
    code = bytes(response.data).partition(b" ")[0][:40].decode("ascii", "replace")
    return code if code.startswith("E_") and code.replace("_", "").isalnum() else UNKNOWN


def own_words(error: Exception) -> str:
    """What is told of an error whatever it is: only our own words, as a foreign one may quote what it was given."""
    is_ours = isinstance(error, (Broken, SubkeeperError))
    return str(error) if is_ours else f"{type(error).__name__}, which nobody foresaw"


def error_words(response: Error) -> str:
    """The code and what nsqd says of it: `E_BAD_BODY PUB body too big 11 > 10`.

    It ends where nsqd would quote what it was sent, which may be a body or a secret; nsqd's texts are in
    https://github.com/nsqio/nsq/blob/v1.3.0/nsqd/protocol_v2.go.
    """
    code = error_code(response)
    if code == UNKNOWN:
        return code
    text = bytes(response.data).partition(b" ")[2][:MAX_WORDS].decode("ascii", "replace")
    return f"{code} {_QUOTING.split(text, maxsplit=1)[0]}".strip()


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


def quiet_nsq() -> None:
    """Keep everything that nsq-py logs out of ours.

    Importing `nsq` adds a StreamHandler at INFO to the logger `nsq`; its lines carry bodies and tokens. What matters of
    them is logged by this package, under its own names. Safe to repeat: every new connection does, in case somebody
    configured logging anew.
    """
    logger = logging.getLogger("nsq")
    for handler in list(logger.handlers):
        if not isinstance(handler, logging.NullHandler):
            logger.removeHandler(handler)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
