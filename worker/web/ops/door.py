"""Whom the ops page is shown to: who asks from this machine, and who has signed in with an admin token.

A loopback address alone proves nothing: a proxy on this machine asks from one for the whole world, and somebody else's
page may have the browser ask by a name that leads here (DNS rebinding). So the `Host` must be a loopback name too,
and nothing may say that a proxy stands between. One that adds no header and asks by the address that it was given says
nothing: nginx from 1.29.7 on by default, HAProxy for whoever sends such a name. So a live deployment's door isn't open
here unless the settings say so (`web.ops`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from worker.settings.kinds import is_loopback
from worker.web.app import Request

COOKIE, PATH = "subkeeper_ops", "/ops"

SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 100
"""Only who has a token can begin one; beyond that the oldest ends."""

_OF_PROXIES = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")


class Door:
    """`open_here`: who asks from this machine needs no token. `holder`: the name of whose admin token it is, None for
    nobody's. `clock`: monotonic, in seconds. All of it happens on the server's own thread.

    A session is known by the digest of a random cookie: nothing of a token is in it, it ends with the process, and
    finding it tells nothing of others by the time it takes.
    """

    def __init__(
        self,
        *,
        open_here: bool,
        holder: Callable[[str], str | None],
        clock: Callable[[], float],
        random: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        self._open_here = open_here
        self._holder = holder
        self._clock = clock
        self._random = random
        self._sessions: dict[bytes, float] = {}

    def lets_in(self, request: Request) -> bool:
        return (self._open_here and is_from_here(request)) or self.is_signed_in(request)

    def is_signed_in(self, request: Request) -> bool:
        return self._sessions.get(_digest(_cookie(request)), float("-inf")) > self._clock()

    def sign_in(self, token: str, request: Request) -> tuple[str, str] | None:
        """Who it is, and the `Set-Cookie` of a new session; None: the token is nobody's."""
        holder = self._holder(token)
        if holder is None:
            return None
        value, now = self._random(), self._clock()
        self._sessions = {each: until for each, until in self._sessions.items() if until > now}
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_digest(value)] = now + SESSION_SECONDS
        return holder, _set_cookie(value, SESSION_SECONDS, request)

    def sign_out(self, request: Request) -> str:
        """Ends the session; the `Set-Cookie` that takes the browser's away."""
        self._sessions.pop(_digest(_cookie(request)), None)
        return _set_cookie("", 0, request)


def is_from_here(request: Request) -> bool:
    """Whether nobody stands between this machine's user and us, as far as that can be told. nginx asks in HTTP/1.0 and
    by the address that it was given, unless it is told otherwise; browsers and curl don't."""
    if request.http_version == "1.0" or any(request.header(each) is not None for each in _OF_PROXIES):
        return False
    return not _is_embedded(request) and is_loopback(_hostname(request.header(b"host") or b""))


def _is_embedded(request: Request) -> bool:
    """Whether another site's page asks for a part of its own, which may tell it by the way it fails who is a user here
    (https://www.w3.org/TR/fetch-metadata/). A link that somebody follows is none."""
    if request.header(b"sec-fetch-site") in {None, b"none", b"same-origin"}:
        return False
    return (request.header(b"sec-fetch-mode"), request.header(b"sec-fetch-dest")) != (b"navigate", b"document")


def _hostname(host: bytes) -> str:
    """Without its port, and an IPv6 address without its brackets."""
    text = host.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()


def _cookie(request: Request) -> str:
    for each in (request.header(b"cookie") or b"").decode("latin-1").split(";"):
        name, _, value = each.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _set_cookie(value: str, seconds: int, request: Request) -> str:
    """`Secure` where a proxy says that the browser came by TLS."""
    by_tls = (request.header(b"x-forwarded-proto") or b"").strip().lower() == b"https"
    secure = "; Secure" if by_tls else ""
    return f"{COOKIE}={value}; Path={PATH}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
