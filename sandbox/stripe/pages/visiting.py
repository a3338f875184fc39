"""A browser's request for a page: which page, in one transaction, at this Stripe's time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from sandbox.stripe.call import Answer, Context
from sandbox.stripe.errors import ApiError
from sandbox.stripe.forms import Form, decode
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.pages import checkout, html, portal, question
from sandbox.stripe.passing_time import settle
from sandbox.stripe.service import Service

Page: TypeAlias = "Callable[[Context, str, Form | None], Answer]"
_PAGES: dict[str, Page] = {
    "/c/pay/": checkout.visit,
    "/p/session/": portal.visit,
    "/3d_secure/": question.visit,
}
PREFIXES = tuple(_PAGES)


def answer(service: Service, method: str, path: str, body: bytes) -> Answer:
    """The page at `path`, after what a POST to it does."""
    if method not in ("GET", "HEAD", "POST"):
        return html.page("This can't be done", status=405)
    prefix = next(known for known in PREFIXES if path.startswith(known))
    now = service.clock.now()
    settle(service.ledger, now)
    service.clockwork.turn(service.ledger, now)
    tx = Transaction(service.ledger, now, now)
    ctx = Context(service.ledger, tx, {}, "", service.account)
    try:
        shown = _PAGES[prefix](ctx, path.removeprefix(prefix), decode(body) if method == "POST" else None)
        service.check_clock(tx)
    except ApiError as error:
        tx.puts.clear()
        shown = html.page("Something went wrong", html.alert(error.message), status=error.status)
    service.ledger.commit(tx)
    return shown
