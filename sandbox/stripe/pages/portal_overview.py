"""The portal's overview: each subscription and each card, with what can be done to it."""

from __future__ import annotations

from sandbox.stripe.call import Answer
from sandbox.stripe.lifecycle import TERMINAL
from sandbox.stripe.objects import Obj
from sandbox.stripe.pages import html, portal_invoices, words
from sandbox.stripe.pages.portal_acts import canceling
from sandbox.stripe.pages.portal_visit import Visit
from sandbox.stripe.portal.sessions import cancel_problem, update_problem


def shown(seen: Visit, problem: str | None = None) -> Answer:
    subs = seen.ctx.ledger.tables["subscription"].by("customer", seen.customer["id"])
    living = [sub for sub in subs if sub["status"] not in TERMINAL]
    sections = [_subscription(seen, sub) for sub in living] or [html.paragraph("There is no subscription.")]
    return html.page(
        "Your billing",
        html.alert(problem),
        "<h2>Subscriptions</h2>",
        *sections,
        _cards(seen),
        portal_invoices.section(seen),
        back=seen.back,
        status=200 if problem is None else 402,
    )


def failed(seen: Visit, _: Obj, problem: str | None) -> Answer:
    return shown(seen, problem)


def _subscription(seen: Visit, sub: Obj) -> str:
    features, path = seen.features, f"{seen.home}/subscriptions/{sub['id']}"
    plans = "".join(f"<dd>{html.text(words.price(seen.ctx.tx, item['price']))}</dd>" for item in sub["items"]["data"])
    links = []
    if update_problem(sub, features) is None:
        links.append(f'<a href="{path}/update">Change plan</a>')
    if cancel_problem(sub, features) is None:
        links.append(f'<a href="{path}/cancel">Cancel subscription</a>')
    undo = html.form(f"{path}/keep", html.button("Don't cancel", quiet=True), inline=True) if canceling(sub) else ""
    status = f"{sub['status'].replace('_', ' ')}{_until(sub)}"
    facts = f"<dl><dt>Plan</dt>{plans}<dt>Status</dt><dd>{html.text(status)}</dd></dl>"
    return f"<section>{facts}<p>{' · '.join(links)}</p>{undo}{_card_of(seen, sub, path)}</section>"


def _until(sub: Obj) -> str:
    if sub["cancel_at"] is not None:
        return f", canceled on {words.date(sub['cancel_at'])}"
    end = words.date(sub["items"]["data"][0]["current_period_end"])
    return {"trialing": f" until {end}", "active": f", renews on {end}"}.get(sub["status"], "")


def _card_of(seen: Visit, sub: Obj, path: str) -> str:
    """The card that this subscription has of its own, which the customer's default doesn't replace."""
    owned = seen.cards()
    if sub["default_payment_method"] is None or not seen.features["payment_method_update"]["enabled"]:
        return ""
    options = {method["id"]: words.card(method) for method in owned}
    chosen = html.select("card", "Paid by", options, sub["default_payment_method"], key=sub["id"])
    return html.form(f"{path}/card", chosen, html.button("Use this card", quiet=True))


def _cards(seen: Visit) -> str:
    if not seen.features["payment_method_update"]["enabled"]:
        return ""
    default = seen.customer["invoice_settings"]["default_payment_method"]
    rows = "".join(_card(seen, method, default=method["id"] == default) for method in seen.cards())
    add = f'<p><a href="{seen.home}/cards/new/add">Add a card</a></p>'
    return f"<h2>Cards</h2>{rows}{add}"


def _card(seen: Visit, method: Obj, *, default: bool) -> str:
    path, name = f"{seen.home}/cards/{method['id']}", words.card(method)
    if default:
        return f"<section>{html.text(name)} <strong>Default</strong></section>"
    acts = (
        html.form(f"{path}/default", html.button("Make default", quiet=True), inline=True),
        html.form(f"{path}/remove", html.button("Remove", quiet=True), inline=True),
    )
    return f'<section aria-label="{html.text(name)}">{html.text(name)}<br>{"".join(acts)}</section>'
