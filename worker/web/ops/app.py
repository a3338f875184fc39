"""What the ops page answers: `/ops`, `/ops/explain?user=…`, and signing in and out. Pages are read by people, so that
whatever goes wrong is a page too, never a 500."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from http import HTTPStatus
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs

import structlog

from worker.domain.callers import Access
from worker.domain.profile import is_user_id
from worker.errors import SubkeeperError
from worker.web.app import Answer, Handler, Headers, Request, Routes
from worker.web.ops import pages
from worker.web.ops.door import PATH, Door
from worker.web.ops.html import Html
from worker.web.ops.picture import Line, Picture
from worker.web.ops.style import policy

MOST_BODY = 8 * 1024
"""Bytes: a form with one token."""

PATIENCE = 3.0
"""Seconds for a newer picture; then what is known is shown."""

_HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class View(Protocol):
    """Where the page's content comes from. All but `known` may wait."""

    def look(self) -> Picture: ...

    def known(self, problem: str) -> Picture:
        """What was found before, and why there is nothing newer."""

    def explain(self, user_id: str, since: str) -> Sequence[Line]:
        """`since`: one of `pages.SPANS`. Raises `SubkeeperError`."""


class Route(NamedTuple):
    """`access`: `ADMIN` is whoever the door lets in."""

    method: str
    path: str
    access: Access
    handle: Handler


class Ops:
    """`executor` runs what may wait for Postgres. `explain_command`: what tells the same elsewhere."""

    def __init__(
        self,
        view: View,
        door: Door,
        executor: Executor,
        *,
        has_tokens: bool,
        explain_command: Callable[[str, str], str],
    ) -> None:
        self._view = view
        self._door = door
        self._executor = executor
        self._has_tokens = has_tokens
        self._explain_command = explain_command
        self._looking: asyncio.Future[Picture] | None = None
        self._log = structlog.get_logger(__name__)
        self.pages = (
            Route("GET", PATH, Access.ADMIN, self._overview),
            Route("GET", pages.EXPLAIN, Access.ADMIN, self._explain),
            Route("POST", pages.SIGN_IN, Access.PUBLIC, self._sign_in),
            Route("POST", pages.SIGN_OUT, Access.PUBLIC, self._sign_out),
        )

    @property
    def routes(self) -> Routes:
        return {each.path: {each.method: self._guarded(each)} for each in self.pages}

    def _guarded(self, route: Route) -> Handler:
        async def handle(request: Request) -> Answer:
            if route.access is Access.PUBLIC or self._door.lets_in(request):
                return await route.handle(request)
            return self._asking()

        return handle

    async def _overview(self, request: Request) -> Answer:
        """One look at a time, whoever asks."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().run_in_executor(self._executor, self._view.look)
        await asyncio.wait([self._looking], timeout=PATIENCE)
        if self._looking.done():
            picture = self._looking.result()
        else:
            picture = self._view.known(f"Postgres has not answered for {PATIENCE:g} s")
        return _page(pages.overview(picture, signed_in=self._door.is_signed_in(request)))

    async def _explain(self, request: Request) -> Answer:
        user_id, since = _one(request.query, "user"), _one(request.query, "since") or pages.USUAL_SPAN
        if not is_user_id(user_id) or since not in pages.SPANS:
            return self._unexplained(HTTPStatus.BAD_REQUEST, user_id, "this is the id of no user")
        loop = asyncio.get_running_loop()
        try:
            lines = await loop.run_in_executor(self._executor, self._view.explain, user_id, since)
        except SubkeeperError as problem:
            return self._unexplained(HTTPStatus.OK, user_id, str(problem), self._explain_command(user_id, since))
        if not lines:
            return self._unexplained(HTTPStatus.NOT_FOUND, user_id, "no such user in our tables")
        return _page(pages.explained(user_id, since, lines))

    def _unexplained(self, status: HTTPStatus, user_id: str, problem: str, command: str = "") -> Answer:
        return _page(pages.explained(user_id, pages.USUAL_SPAN, (), problem, command), status)

    async def _sign_in(self, request: Request) -> Answer:
        token = _one(await request.body(MOST_BODY), "token").strip()
        signed_in = self._door.sign_in(token, request)
        if signed_in is None:
            self._log.warning("ops.refused")
            return self._asking("This is no admin token of this deployment's.")
        holder, cookie = signed_in
        self._log.info("ops.signed_in", caller=holder)
        return _back(cookie)

    async def _sign_out(self, request: Request) -> Answer:
        await request.body(MOST_BODY)
        return _back(self._door.sign_out(request))

    def _asking(self, problem: str = "") -> Answer:
        return _page(pages.sign_in(problem, has_tokens=self._has_tokens), HTTPStatus.FORBIDDEN)


def _page(document: Html, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    headers = (*_HEADERS, (b"content-security-policy", policy().encode()))
    return Answer(status, "text/html; charset=utf-8", document.encode(), headers)


def _back(cookie: str) -> Answer:
    headers = (*_HEADERS, (b"location", PATH.encode()), (b"set-cookie", cookie.encode()))
    return Answer(HTTPStatus.SEE_OTHER, "text/plain", b"", headers)


def _one(form: bytes, name: str) -> str:
    """The field of a form; "" where there is none."""
    try:
        return parse_qs(form.decode("latin-1"), max_num_fields=10, errors="replace").get(name, [""])[0]
    except ValueError:
        return ""
