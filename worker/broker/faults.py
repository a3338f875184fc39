"""Why a connection to nsqd cannot go on: sockets', TLS's and nsqd's errors, translated once."""

from __future__ import annotations

import ssl

from nsq.response import Error


class Broken(Exception):
    """This connection cannot go on. `reason` is a constant to count by, `detail` is never a body or a secret."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


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
    """`E_SOMETHING` out of nsqd's error; the text behind it is left out, as it can quote what we sent."""
    code = bytes(response.data).partition(b" ")[0][:40].decode("ascii", "replace")
    return code if code.startswith("E_") and code.replace("_", "").isalnum() else "E_UNKNOWN"
