"""What customers do in the portal, by the same rules as the API has: each act with its page, if it has one."""

from __future__ import annotations

from sandbox.stripe import cards, changes, customers, objects, payment_methods, setup_intents
from sandbox.stripe.call import Answer
from sandbox.stripe.checkout.completing import asked
from sandbox.stripe.errors import ApiError, no_such, refused
from sandbox.stripe.lifecycle import TERMINAL, end_now, method_of, move
from sandbox.stripe.objects import Obj
from sandbox.stripe.pages import card_form, html, portal_invoices, question, words
from sandbox.stripe.pages.portal_visit import Act, Question, Visit
from sandbox.stripe.portal.sessions import cancel_problem, update_problem


def canceling(sub: Obj) -> bool:
    return sub["ended_at"] is None and (sub["cancel_at"] is not None or sub["cancel_at_period_end"])


def _sub(seen: Visit, identifier: str) -> Obj:
    sub = seen.ctx.ledger.tables["subscription"].live(identifier)
    if sub is None or sub["customer"] != seen.customer["id"]:
        raise no_such("subscription", identifier)
    return sub


def _owner(seen: Visit, _: str) -> Obj:
    if not seen.features["payment_method_update"]["enabled"]:
        raise refused("Cards can't be changed here.")
    return seen.customer


def _card(seen: Visit, identifier: str) -> Obj:
    _owner(seen, identifier)
    method = seen.ctx.ledger.tables["payment_method"].live(identifier)
    if method is None or method["customer"] != seen.customer["id"]:
        raise no_such("PaymentMethod", identifier)
    return method


def _cancel_page(seen: Visit, sub: Obj, problem: str | None) -> Answer:
    feature = seen.features["subscription_cancel"]
    why = feature["cancellation_reason"]
    options = {"": "No answer", **{name: name.replace("_", " ").capitalize() for name in why["options"]}}
    asks = html.select("feedback", "Why do you cancel?", options) if why["enabled"] else ""
    end = sub["items"]["data"][0]["current_period_end"]
    at_end = feature["mode"] == "at_period_end"
    when = f"It stays as it is until {words.date(end)}, then it ends." if at_end else "It ends at once."
    problem = problem or cancel_problem(sub, seen.features)
    return html.page(
        "Cancel your subscription",
        html.alert(problem),
        html.paragraph(f"{_plan(seen, sub)}. {when}"),
        html.form(f"{seen.home}/subscriptions/{sub['id']}/cancel", asks, html.button("Cancel subscription")),
        back=_way_back(seen),
    )


def _cancel(seen: Visit, sub: Obj) -> None:
    """As the portal does: in flexible billing by `cancel_at`, in classic by `cancel_at_period_end`."""
    problem = cancel_problem(sub, seen.features)
    if problem is not None:
        raise refused(problem)
    feature = seen.features["subscription_cancel"]
    feedback = seen.sent("feedback")
    allowed = feedback if feedback in feature["cancellation_reason"]["options"] else None
    details = objects.cancellation("cancellation_requested", feedback=allowed)
    if feature["mode"] == "immediately":
        end_now(seen.ctx.tx, {**sub, "cancellation_details": details})
        return
    end = sub["trial_end"] if sub["status"] == "trialing" else sub["items"]["data"][0]["current_period_end"]
    fields = {"cancel_at": end, "canceled_at": seen.ctx.now, "cancellation_details": details}
    move(seen.ctx.tx, sub, **fields, cancel_at_period_end=sub["billing_mode"]["type"] == "classic")


def _keep(seen: Visit, sub: Obj) -> None:
    if not canceling(sub):
        raise refused("This subscription isn't set to be canceled.")
    details = objects.cancellation()
    move(seen.ctx.tx, sub, cancel_at=None, cancel_at_period_end=False, canceled_at=None, cancellation_details=details)


def _plans(seen: Visit) -> dict[str, str]:
    """The prices that may be chosen, and their words."""
    table = seen.ctx.ledger.tables["price"]
    names = [name for product in seen.features["subscription_update"]["products"] for name in product["prices"]]
    return {name: words.price(seen.ctx.tx, table.rows[name]) for name in names if table.rows[name]["active"]}


def _update_page(seen: Visit, sub: Obj, problem: str | None) -> Answer:
    refusal = update_problem(sub, seen.features)
    if refusal is not None:
        return html.page("Change plan", html.alert(refusal), back=_way_back(seen))
    picked = html.choices("price", "Plan", _plans(seen), sub["items"]["data"][0]["price"]["id"])
    return html.page(
        "Change plan",
        html.alert(problem),
        html.form(f"{seen.home}/subscriptions/{sub['id']}/update", picked, html.button("Change plan")),
        back=_way_back(seen),
        status=200 if problem is None else 402,
    )


def _update(seen: Visit, sub: Obj) -> Question | None:
    """Nothing changes unless what is due at once is paid."""
    problem, price = update_problem(sub, seen.features), seen.sent("price")
    if problem is not None or price not in _plans(seen):
        raise refused(problem or "This plan can't be chosen.")
    if price == sub["items"]["data"][0]["price"]["id"]:
        raise refused("This is the plan already.")
    answer, method = question.answered(seen.form), method_of(seen.ctx.tx, sub)
    if answer == question.NO:
        raise refused(cards.refusal("payment").message)
    if answer == question.YES and method is not None:
        seen.ctx.tx.authenticated.add(method["id"])
    feature = seen.features["subscription_update"]
    params = {
        "items": [{"id": sub["items"]["data"][0]["id"], "price": price}],
        "payment_behavior": "error_if_incomplete",
        "proration_behavior": feature["proration_behavior"],
    }
    if sub["status"] == "trialing" and feature["trial_update_behavior"] == "end_trial":
        params["trial_end"] = "now"
    try:
        changes.update(asked(seen.ctx, params, sub["id"]))
    except ApiError as error:
        if error.code != "subscription_payment_intent_requires_action":
            raise
        return "The payment for your new plan is to be confirmed.", {"price": price}
    return None


def _use_card(seen: Visit, sub: Obj) -> None:
    method = _card(seen, seen.sent("card"))
    if sub["status"] not in TERMINAL:
        move(seen.ctx.tx, sub, default_payment_method=method["id"])


def _add_page(seen: Visit, _: Obj, problem: str | None) -> Answer:
    entry = card_form.fields(seen.form, email=False)
    return html.page(
        "Add a card",
        html.alert(problem),
        html.paragraph("It becomes the default, which pays for all that has no card of its own."),
        html.form(f"{seen.home}/cards/new/add", entry, html.button("Add card")),
        back=_way_back(seen),
        status=200 if problem is None else 402,
    )


def _add(seen: Visit, _: Obj) -> Question | None:
    ctx, answer = seen.ctx, question.answered(seen.form)
    waiting = ctx.ledger.tables["setup_intent"].live(seen.sent("intent"))
    own = waiting is not None and waiting["customer"] == seen.customer["id"]
    if answer is not None and waiting is not None and own and waiting["status"] == "requires_action":
        intent, method = waiting, ctx.tx.get(waiting["payment_method"])
        if answer == question.NO:
            raise setup_intents.fail(ctx.tx, intent, method, cards.refusal("setup"))
        ctx.tx.authenticated.add(method["id"])
    else:
        method = card_form.new_card(ctx, seen.form)
        intent = setup_intents.new_intent(ctx.tx, {"customer": seen.customer["id"], "payment_method": method["id"]})
    confirmed = setup_intents.confirm_now(asked(ctx, {}), intent)
    if confirmed["status"] != "succeeded":
        return "A card is to be saved for later payments.", {"intent": confirmed["id"]}
    _default(seen, method)
    return None


def _default(seen: Visit, method: Obj) -> None:
    settings = {"invoice_settings": {"default_payment_method": method["id"]}}
    customers.update(asked(seen.ctx, settings, seen.customer["id"]))


def _remove(seen: Visit, method: Obj) -> None:
    subs = seen.ctx.ledger.tables["subscription"].by("customer", seen.customer["id"])
    using = [seen.customer["invoice_settings"], *(sub for sub in subs if sub["ended_at"] is None)]
    if any(each["default_payment_method"] == method["id"] for each in using):
        raise refused("This card is in use: choose another one first.")
    payment_methods.detach_now(seen.ctx.tx, method)


def _plan(seen: Visit, sub: Obj) -> str:
    return "; ".join(words.price(seen.ctx.tx, item["price"]) for item in sub["items"]["data"])


def _way_back(seen: Visit) -> tuple[str, str] | None:
    in_flow = seen.session["flow"] is not None and not seen.session.get("_done")
    return seen.back if in_flow else (seen.home, "Back")


_ALL = (
    Act("subscriptions/cancel", _sub, _cancel, _cancel_page),
    Act("subscriptions/keep", _sub, _keep),
    Act("subscriptions/update", _sub, _update, _update_page),
    Act("subscriptions/card", _sub, _use_card),
    Act("cards/add", _owner, _add, _add_page),
    Act("cards/default", _card, _default),
    Act("cards/remove", _card, _remove),
    portal_invoices.PAY,
)
ACTS = {act.name: act for act in _ALL}
"""By the path's pattern below the overview, without the id in it."""
