"""Checkout's page: a card is entered, declined and entered again, confirmed with its bank; then back to the website."""

from __future__ import annotations

from sandbox.stripe import cards, setup_intents
from sandbox.stripe.call import Answer, Context
from sandbox.stripe.checkout import completing
from sandbox.stripe.checkout.sessions import KIND
from sandbox.stripe.errors import ApiError
from sandbox.stripe.forms import Form, text_at
from sandbox.stripe.objects import Obj
from sandbox.stripe.pages import card_form, html, question, words

_OVER = {
    "complete": ("You're all done here", "This was completed already. You can close this page."),
    "expired": ("This link has expired", "Go back to the website to begin again."),
}


def visit(ctx: Context, identifier: str, form: Form | None) -> Answer:
    """The session's page; `form` if something was sent."""
    session = ctx.ledger.tables[KIND].live(identifier)
    if session is None:
        return html.page("Something went wrong", html.paragraph("There is no such page."), status=404)
    if session["status"] != "open":
        title, message = _OVER[session["status"]]
        return html.page(title, html.paragraph(message), back=_back(session))
    if form is None:
        return _shown(ctx, session, {})
    try:
        return _sent(ctx, session, form)
    except ApiError as error:
        if not error.keeps:
            ctx.tx.puts.clear()
        return _shown(ctx, session, form, error)


def _back(session: Obj) -> tuple[str, str] | None:
    return None if session["cancel_url"] is None else (session["cancel_url"], "Back to the website")


def _sent(ctx: Context, session: Obj, form: Form) -> Answer:
    answer = question.answered(form)
    method = _method(ctx, session, form, answer)
    if method is not None and answer == question.YES:
        ctx.tx.authenticated.add(method["id"])
    if method is not None and answer == question.NO:
        raise _refused(ctx, session, method)
    after = completing.complete(ctx, session, method, card_form.entered_email(form))
    if after["status"] == "open":
        assert method is not None
        kept = {"method": method["id"], "email": text_at(form, "email") or ""}
        return question.shown(_path(session), _about(session), kept)
    return html.redirect(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]))


def _path(session: Obj) -> str:
    return f"/c/pay/{session['id']}"


def _about(session: Obj) -> str:
    if not session["amount_total"]:
        return "A card is to be saved for later payments."
    return f"A payment of {words.money(session['amount_total'], session['currency'])} is to be confirmed."


def _method(ctx: Context, session: Obj, form: Form, answer: str | None) -> Obj | None:
    """The card that was entered, or the one that the bank asked for (nobody's yet, so that no other can be named)."""
    named = text_at(form, "method")
    known = None if answer is None or named is None else ctx.ledger.tables["payment_method"].live(named)
    if known is not None and known["customer"] is None:
        return known
    if not completing.needs_card(session) and not text_at(form, "number"):
        return None
    return card_form.new_card(ctx, form)


def _refused(ctx: Context, session: Obj, method: Obj) -> ApiError:
    if session["mode"] == "setup":
        return setup_intents.fail(ctx.tx, ctx.tx.get(session["setup_intent"]), method, cards.refusal("setup"))
    return cards.declined(cards.refusal("payment"), method)


def _shown(ctx: Context, session: Obj, form: Form, error: ApiError | None = None) -> Answer:
    customer = ctx.tx.find(session["customer"] or "")
    email = (None if customer is None else customer["email"]) or session["customer_email"]
    anonymous = session["mode"] == "subscription" and customer is None
    filled: Form = {"email": session["customer_email"] or "", **form}
    entry = card_form.fields(
        filled,
        email=customer is None or email is None,
        needs_email=anonymous,
        needs_card=completing.needs_card(session),
    )
    setup = session["mode"] == "setup"
    title = "Save a card" if setup else "Subscribe"
    act = "Save card" if setup else "Start trial" if session["amount_total"] == 0 else "Subscribe"
    summary = "" if setup else _summary(ctx, session)
    known = "" if email is None else html.paragraph(f"Email: {email}")
    return html.page(
        title,
        html.alert(None if error is None else error.message),
        summary,
        known,
        html.form(_path(session), entry, html.button(act)),
        back=_back(session),
        status=200 if error is None else error.status,
    )


def _summary(ctx: Context, session: Obj) -> str:
    """What is bought, and what is due today."""
    lines = ""
    for item in session["_order"]["items"]:
        times = f" (x {item['quantity']})" if item["quantity"] > 1 else ""
        lines += f"<dd>{html.text(words.price(ctx.tx, item['price']) + times)}</dd>"
    due = words.money(session["amount_total"], session["currency"])
    return f"<section><dl><dt>Plan</dt>{lines}<dt>Due today</dt><dd>{due}</dd></dl></section>"
