"""Lists and searches: cursors, limits, created windows, filters; the same for every kind of object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sandbox.stripe.call import Context
from sandbox.stripe.errors import invalid, no_such
from sandbox.stripe.objects import Obj, listing, search_result
from sandbox.stripe.params import Check, Spec, integer, list_of, text, window

EXPAND = list_of(text(200), limit=20)
_NAMES = {
    "billing_portal.configuration": "configuration",
    "payment_method": "PaymentMethod",
    "setup_intent": "setupintent",
    "test_helpers.test_clock": "test clock",
}


PAGE: dict[str, Check] = {
    "starting_after": text(),
    "ending_before": text(),
    "limit": integer(1, 100),
    "expand": EXPAND,
}


def list_spec(filters: Mapping[str, Check]) -> Spec:
    """The parameters of a list endpoint: `filters` and what nearly all of them share."""
    return Spec({**PAGE, "created": window, **filters})


SEARCH = Spec({"query": text(), "limit": integer(1, 100), "page": text(), "expand": EXPAND}, required=("query",))


def answer_list(
    ctx: Context,
    kind: str,
    *,
    where: Mapping[str, Any] | None = None,
    keep: Callable[[Obj], bool] = lambda _: True,
    url: str | None = None,
    among: Iterable[str] | None = None,
) -> Obj:
    """One page, newest first. `where` compares indexed fields, `keep` anything else, of all or of those `among`."""
    data, more = ctx.ledger.tables[kind].page(
        ctx.params.get("limit", 10),
        keep,
        where=where or {},
        created=ctx.params.get("created", {}),
        after=_cursor(ctx, kind, "starting_after"),
        before=_cursor(ctx, kind, "ending_before"),
        among=among,
    )
    return listing(url or f"/v1/{kind}s", data, has_more=more)


def _cursor(ctx: Context, kind: str, name: str) -> str | None:
    cursor: str | None = ctx.params.get(name)
    if cursor is None:
        return None
    if name == "ending_before" and "starting_after" in ctx.params:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before.", param=name)
    if ctx.ledger.tables[kind].live(cursor) is None:
        raise no_such(kind, cursor, name)
    return cursor


def answer_search(ctx: Context, kind: str) -> Obj:
    """One page of a search; `page` is opaque to clients (it holds an offset)."""
    found = ctx.ledger.search.find(kind, ctx.params["query"], ctx.now)
    start = _offset(ctx.params.get("page"))
    end = start + int(ctx.params.get("limit", 10))
    next_page = f"page_{end}" if end < len(found) else None
    return search_result(f"/v1/{kind}s/search", found[start:end], next_page)


def _offset(page: str | None) -> int:
    if page is None:
        return 0
    _, _, offset = page.partition("page_")
    if not offset.isdecimal():
        raise invalid("Invalid page token.", param="page")
    return int(offset)


def alive(ctx: Context, kind: str, identifier: str, param: str = "id") -> Obj:
    """The object, or `resource_missing` for one that never was or is deleted.

    One on a test clock takes the request to that clock's time.
    """
    obj = ctx.tx.puts.get(identifier) or ctx.ledger.tables[kind].live(identifier)
    if obj is None or obj.get("deleted") or obj["object"] != kind:
        raise no_such(_NAMES.get(kind, kind), identifier, param)
    ctx.tx.enter(obj.get("test_clock"))
    return obj
