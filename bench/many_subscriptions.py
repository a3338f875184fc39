"""A Stripe with as many subscriptions as wanted: its list of them is made of one, and everything else is passed on.

    python -m bench.many_subscriptions PORT UPSTREAM TEMPLATE COUNT

TEMPLATE is a file with one subscription as `GET /v1/subscriptions` has it. In place of its own id and customer each has
those of its number (`identifiers`), the newest first. A page costs this process little, so that what asks is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from aiohttp import web

SUBSCRIPTION, CUSTOMER = "sub_bench%08d", "cus_bench%08d"
"""The ids of number N."""

_KEPT = {"Authorization", "Content-Type", "Stripe-Version", "Idempotency-Key"}


class ManySubscriptions:
    """`template` with `{SUBSCRIPTION}` and `{CUSTOMER}` in the place of ids."""

    def __init__(self, upstream: str, template: bytes, count: int) -> None:
        self._upstream = upstream
        self._template = template
        self._count = count

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and request.path == "/v1/subscriptions":
            return web.Response(body=self._page(request), content_type="application/json")
        return await self._pass_on(request)

    def _page(self, request: web.Request) -> bytes:
        after, limit = request.query.get("starting_after"), int(request.query["limit"])
        newest = self._count if after is None else int(after[-8:])
        oldest = max(0, newest - limit)
        parts = b",".join(self._subscriptions(range(newest - 1, oldest - 1, -1)))
        more = b"true" if oldest else b"false"
        return b'{"object":"list","url":"/v1/subscriptions","has_more":' + more + b',"data":[' + parts + b"]}"

    def _subscriptions(self, numbers: range) -> Iterator[bytes]:
        for number in numbers:
            named = self._template.replace(b"{SUBSCRIPTION}", (SUBSCRIPTION % number).encode())
            yield named.replace(b"{CUSTOMER}", (CUSTOMER % number).encode())

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.title() in _KEPT}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, self._upstream + request.path_qs, headers=headers, data=await request.read()
            ) as answer,
        ):
            kept = {name: value for name, value in answer.headers.items() if name.title() not in _OF_THE_CONNECTION}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


_OF_THE_CONNECTION = {"Content-Length", "Transfer-Encoding", "Connection", "Content-Encoding"}


def main() -> None:
    port, upstream, template, count = sys.argv[1:]
    stripe = ManySubscriptions(upstream, Path(template).read_bytes(), int(count))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stripe.answer)
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, access_log=None)


if __name__ == "__main__":
    main()
