"""The customer portal's pages: subscriptions and cards, and for each thing that can be done its own page or button.

`/p/session/{secret}` is the overview; below it `subscriptions/{id}/{act}` and `cards/{id or new}/{act}`.
"""

from __future__ import annotations

from sandbox.stripe.call import Answer, Context
from sandbox.stripe.errors import ApiError
from sandbox.stripe.forms import Form
from sandbox.stripe.objects import Obj
from sandbox.stripe.pages import html, portal_acts, portal_overview, question
from sandbox.stripe.pages.portal_visit import Act, Visit
from sandbox.stripe.portal.sessions import KIND

_LIFE = 3600  # seconds from its creation


def visit(ctx: Context, path: str, form: Form | None) -> Answer:
    """The page at `path`; `form` if something was sent."""
    secret, _, place = path.partition("/")
    found = ctx.ledger.tables[KIND].by("url", f"{ctx.ledger.url}/p/session/{secret}")
    session = found[0] if found else None
    customer = None if session is None else ctx.tx.find(session["customer"])
    if session is None or customer is None:
        return html.page("Something went wrong", html.paragraph("There is no such page."), status=404)
    if session["created"] + _LIFE <= ctx.tx.wall:
        return html.page("This link has expired", html.paragraph("Go back to the website for another."), status=410)
    ctx.tx.enter(customer["test_clock"])
    seen = Visit(ctx, session, customer, f"/p/session/{secret}", form or {})
    if not place:
        return html.redirect(f"{seen.home}/{_begin(session)}") if _in_flow(session) else portal_overview.shown(seen)
    act = portal_acts.ACTS.get(_pattern(place))
    if act is None:
        return html.page("Something went wrong", html.paragraph("There is no such page."), status=404)
    return _do(seen, act, place.split("/")[1], sent=form is not None)


def _in_flow(session: Obj) -> bool:
    return session["flow"] is not None and not session.get("_done")


def _begin(session: Obj) -> str:
    """Where a flow begins."""
    flow = session["flow"]
    if flow["type"] == "payment_method_update":
        return "cards/new/add"
    act = flow["type"].removeprefix("subscription_")
    return f"subscriptions/{flow[flow['type']]['subscription']}/{act}"


def _pattern(place: str) -> str:
    kind, _, rest = place.partition("/")
    return f"{kind}/{rest.partition('/')[2]}"


def _do(seen: Visit, act: Act, identifier: str, *, sent: bool) -> Answer:
    """Shows the page of an act, or does it and goes on to where it leads."""
    ctx = seen.ctx
    try:
        obj = act.find(seen, identifier)
    except ApiError as error:
        return html.page("Something went wrong", html.alert(error.message), back=(seen.home, "Back"), status=404)
    if not sent:
        return act.page(seen, obj, None) if act.page else html.redirect(seen.home)
    try:
        question_asked = act.do(seen, obj)
    except ApiError as error:
        if not error.keeps:
            ctx.tx.puts.clear()
        page = act.page or portal_overview.failed
        return page(seen, obj, error.message)
    if question_asked is not None:
        about, hidden = question_asked
        return question.shown(f"{seen.home}/{act.path(identifier)}", about, hidden)
    return _after(seen)


def _after(seen: Visit) -> Answer:
    """Where it goes on: in a flow as that says, else the overview."""
    if not _in_flow(seen.session):
        return html.redirect(seen.home)
    seen.ctx.tx.put({**seen.session, "_done": True})
    after = seen.session["flow"]["after_completion"]
    if after["type"] == "redirect":
        return html.redirect(after["redirect"]["return_url"])
    if after["type"] == "hosted_confirmation":
        message = after["hosted_confirmation"]["custom_message"] or "Your changes are made."
        return html.page("Done", html.paragraph(message), back=seen.back)
    return html.redirect(seen.home)
