"""A bank that asks its customer (3-D Secure): the page, and what the answer does to an intent that waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from sandbox.stripe import cards, collection, setup_intents
from sandbox.stripe.call import Answer, Context
from sandbox.stripe.checkout.completing import asked
from sandbox.stripe.errors import ApiError
from sandbox.stripe.forms import Form, text_at
from sandbox.stripe.objects import Obj
from sandbox.stripe.pages import html, words

YES, NO = "authenticated", "refused"


def shown(action: str, about: str, hidden: Mapping[str, str] | None = None) -> Answer:
    """The question; its answer is posted to `action` as `answer`, with `hidden` beside it."""
    buttons = (
        html.button("Complete authentication", name="answer", value=YES),
        html.button("Fail authentication", name="answer", value=NO, quiet=True),
    )
    return html.page("Your bank asks: is it you?", html.paragraph(about), html.form(action, *buttons, hidden=hidden))


def answered(form: Form) -> str | None:
    """`YES`, `NO`, or None where nothing was asked."""
    answer = text_at(form, "answer")
    return answer if answer in (YES, NO) else None


def visit(ctx: Context, secret: str, form: Form | None) -> Answer:
    """The page that an intent's `next_action` names, by its client secret; `form` if it was answered."""
    intent = ctx.tx.find(secret.partition("_secret_")[0])
    if intent is None or intent.get("client_secret") != secret or intent["status"] != "requires_action":
        return html.page("Nothing is asked any more", html.paragraph("You can close this page."), status=404)
    checkouts = ctx.ledger.tables["checkout.session"].by("setup_intent", intent["id"])
    if checkouts:
        return html.redirect(
            checkouts[0]["url"]
        )  # where it is asked as well, and the session completed with the answer
    answer = None if form is None else answered(form)
    if answer is None:
        return shown(f"/3d_secure/{secret}", _about(intent))
    return_url = intent["next_action"]["redirect_to_url"]["return_url"]
    after, problem = _settled(ctx, intent, answer)
    if return_url is not None:
        return html.redirect(_with(return_url, after, problem))
    if problem is not None:
        return html.page("It wasn't confirmed", html.alert(problem))
    return html.page("Confirmed", html.paragraph("You can close this page."))


def _about(intent: Obj) -> str:
    if intent["object"] == "payment_intent":
        return f"A payment of {words.money(intent['amount'], intent['currency'])} is to be confirmed."
    return "A card is to be saved for later payments."


def _settled(ctx: Context, intent: Obj, answer: str) -> tuple[Obj, str | None]:
    """The intent after the answer, and what went wrong."""
    method = ctx.tx.get(intent["payment_method"])
    if answer == YES:
        ctx.tx.authenticated.add(method["id"])
    problem = (_payment if intent["object"] == "payment_intent" else _setup)(ctx, intent, method, answer)
    return ctx.tx.get(intent["id"]), problem


def _payment(ctx: Context, intent: Obj, method: Obj, answer: str) -> str | None:
    payments = ctx.ledger.tables["invoice_payment"].all()
    bill = ctx.tx.get(next(row["invoice"] for row in payments if row["payment"]["payment_intent"] == intent["id"]))
    ctx.tx.enter(bill["test_clock"])
    if answer == NO:
        return collection.refuse(ctx.tx, bill, method).message
    outcome = collection.collect(ctx.tx, bill, method, automatic=False)
    return outcome.message if isinstance(outcome, cards.Decline) else None


def _setup(ctx: Context, intent: Obj, method: Obj, answer: str) -> str | None:
    if answer == NO:
        return setup_intents.fail(ctx.tx, intent, method, cards.refusal("setup")).message
    try:
        setup_intents.confirm_now(asked(ctx, {}), intent)
    except ApiError as error:
        return error.message
    return None


def _with(return_url: str, intent: Obj, problem: str | None) -> str:
    """Where the customer goes on, as https://docs.stripe.com/payments/3d-secure says."""
    kind = intent["object"]
    status = "succeeded" if problem is None else "failed"
    said = {kind: intent["id"], f"{kind}_client_secret": intent["client_secret"], "redirect_status": status}
    address, mark, place = return_url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{urlencode(said)}{mark}{place}"
