"""Why a connection to nsqd cannot go on: sockets', TLS's and nsqd's errors, translated once."""

from __future__ import annotations

import re
import ssl

from nsq.response import Error

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
