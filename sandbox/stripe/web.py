"""HTTP for the service: reads requests, waits, answers, and breaks off where a fault says so (aiohttp)."""

from __future__ import annotations

import asyncio
import ipaddress

from aiohttp import web

from sandbox.stripe import admin
from sandbox.stripe.call import Answer, Call
from sandbox.stripe.faults import Fault, Plan
from sandbox.stripe.pages import visiting
from sandbox.stripe.request_log import Entry
from sandbox.stripe.service import Service

_WATCH_SECONDS = 0.05  # how soon a hanging request notices that its client has gone
_TRICKLES = 20


class Handler:
    """One request in, one answer out, unless a fault cuts it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        started = self._service.monotonic()
        path, _, query = request.raw_path.partition("?")
        body = await request.read()
        if path.startswith(visiting.PREFIXES):
            return _response(visiting.answer(self._service, request.method, path, body))
        if path.startswith(admin.PREFIX):
            return _response(self._control(request, path, query, body))
        form = body if request.method == "POST" else query.encode()
        call = self._service.open(request.method, path, form, request.headers)
        entry = self._service.log.add(call, self._service.clock.time())
        try:
            return await self._handle(request, call, entry)
        finally:
            entry.handled_ms = (self._service.monotonic() - started) * 1000

    def _control(self, request: web.BaseRequest, path: str, query: str, body: bytes) -> Answer:
        """Whoever controls the sandbox sits on the same machine (403 for anybody else)."""
        if not ipaddress.ip_address(request.remote or "0.0.0.0").is_loopback:  # noqa: S104 - stands for unknown
            return Answer(403, b'{"error":"the control endpoint answers on loopback only"}')
        return admin.answer(self._service, request.method, path, query, body)

    async def _handle(self, request: web.BaseRequest, call: Call, entry: Entry) -> web.StreamResponse:
        plan = self._service.faults.draw(call)
        entry.fault = plan.fault.name if plan.fault else None
        answer = self._service.begin(call, plan.fault)
        try:
            if await self._wait_before(request, plan):
                return web.Response()
            if answer is None:
                answer = self._service.execute(call, plan.fault)
        finally:
            self._service.abandon(call)
        if plan.latency:
            await asyncio.sleep(plan.latency / 2)
        entry.replayed = answer.replayed
        try:
            return await _deliver(request, answer, plan.fault, entry)
        except ConnectionResetError:  # the client went before its answer came
            return web.Response()

    async def _wait_before(self, request: web.BaseRequest, plan: Plan) -> bool:
        """Half of the latency; True if the request ends here, without effect."""
        if plan.latency:
            await asyncio.sleep(plan.latency / 2)
        return plan.fault is not None and plan.fault.when == "before" and await _cut(request, plan.fault)


async def _cut(request: web.BaseRequest, fault: Fault) -> bool:
    """Drops or hangs the request if that is the fault."""
    if fault.kind == "hang":
        # aiohttp sets no event when a client goes
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - see above
            await asyncio.sleep(_WATCH_SECONDS)
        return True
    if fault.kind == "drop":
        _abort(request)
        return True
    return False


def _abort(request: web.BaseRequest) -> None:
    transport = request.transport
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


async def _deliver(request: web.BaseRequest, answer: Answer, fault: Fault | None, entry: Entry) -> web.StreamResponse:
    if fault is not None and fault.when == "after" and await _cut(request, fault):
        return web.Response()
    entry.status = answer.status
    if fault is not None and fault.kind in ("slow_body", "partial"):
        return await _bit_by_bit(request, answer, fault)
    response = _response(answer)
    await response.prepare(request)
    await response.write_eof()
    return response


async def _bit_by_bit(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    """The body in pieces over `fault.ms`; `partial` stops half-way and closes, `finish: false` before the last byte."""
    body = answer.body
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(body)
    await response.prepare(request)
    if fault.kind == "partial":
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response
    end = len(body) if fault.finish else len(body) - 1
    step = max(1, len(body) // _TRICKLES)
    for start in range(0, end, step):
        await asyncio.sleep(fault.ms / 1000 / _TRICKLES)
        await response.write(body[start : min(start + step, end)])
    if not fault.finish:
        await _cut(request, Fault("hang"))
    return response


def _response(answer: Answer) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
