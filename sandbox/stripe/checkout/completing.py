"""What completes a Checkout session: a card that is set up, or a subscription whose first invoice is paid.

A subscription comes into being with the payment, not before (https://docs.stripe.com/changelog/basil): what is declined
leaves nothing but the session, open for another attempt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sandbox.stripe import cards, customers, payment_methods, setup_intents, subscriptions
from sandbox.stripe.call import Context
from sandbox.stripe.checkout import shapes
from sandbox.stripe.errors import ApiError
from sandbox.stripe.lists import alive
from sandbox.stripe.objects import Obj


def asked(ctx: Context, params: dict[str, Any], identifier: str = "") -> Context:
    """The same transaction, asked something else."""
    return replace(ctx, params=params, identifier=identifier)


def needs_card(session: Obj) -> bool:
    """Whether this can't be completed without a card."""
    return not (session["payment_method_collection"] == "if_required" and session["amount_total"] == 0)


def complete(ctx: Context, session: Obj, method: Obj | None, email: str | None) -> Obj:
    """The session, complete. `email`: what the customer entered; `method`: a card that nobody has yet.

    Raises 402 for a card that is declined. Where it asks for its owner (and the transaction doesn't say that it was
    answered), the session is returned open: its intent at `requires_action` in setup mode, nothing done in the other.
    """
    customer = _customer(ctx, session, email)
    if session["mode"] == "setup":
        assert method is not None
        return _set_up(ctx, session, customer, method)
    assert customer is not None
    if method is not None and cards.asks_customer(method) and method["id"] not in ctx.tx.authenticated:
        ctx.tx.puts = {method["id"]: method}  # the customer comes into being with the subscription, not before
        return session
    try:
        return _subscribed(ctx, session, customer, method)
    except ApiError as error:
        error.keeps = False
        raise


def _customer(ctx: Context, session: Obj, email: str | None) -> Obj | None:
    """The session's, who takes the e-mail that it lacked; else a new one, where the session is to make one."""
    if session["customer"] is not None:
        known = alive(ctx, "customer", session["customer"], "customer")
        if known["email"] is not None or email is None:
            return known
        return customers.update(asked(ctx, {"email": email}, known["id"]))
    if session["mode"] == "setup" and session["customer_creation"] != "always":
        return None
    return customers.create(asked(ctx, {} if email is None else {"email": email}))


def _set_up(ctx: Context, session: Obj, customer: Obj | None, method: Obj) -> Obj:
    intent = ctx.tx.get(session["setup_intent"])
    intent = {**intent, "payment_method": method["id"], "customer": customer and customer["id"]}
    confirmed = setup_intents.confirm_now(asked(ctx, {}), intent)
    if confirmed["status"] != "succeeded":
        return ctx.tx.put({**session, **_whose(customer)})
    return _completed(ctx, session, customer, {})


def _subscribed(ctx: Context, session: Obj, customer: Obj, method: Obj | None) -> Obj:
    order = session["_order"]
    params: dict[str, Any] = {
        **order["terms"],
        "customer": customer["id"],
        "items": [{"price": item["price"]["id"], "quantity": item["quantity"]} for item in order["items"]],
        "payment_behavior": "error_if_incomplete",
    }
    if method is not None:
        params["default_payment_method"] = payment_methods.attach_to(ctx, method, customer["id"])["id"]
    sub = subscriptions.create(asked(ctx, params))
    if method is not None and session["amount_total"] == 0:
        _set_up_for_later(ctx, customer, method)
    paid = "no_payment_required" if session["amount_total"] == 0 else "paid"
    made = {"invoice": sub["latest_invoice"], "payment_status": paid, "subscription": sub["id"]}
    return _completed(ctx, session, customer, made)


def _set_up_for_later(ctx: Context, customer: Obj, method: Obj) -> None:
    """Nothing is paid yet, as in a trial, so the card is set up."""
    intent = setup_intents.new_intent(ctx.tx, {"customer": customer["id"], "payment_method": method["id"]})
    setup_intents.confirm_now(asked(ctx, {}), intent)


def _completed(ctx: Context, session: Obj, customer: Obj | None, made: Obj) -> Obj:
    complete = ctx.tx.put({**session, **_whose(customer), **made, "status": "complete", "url": None})
    ctx.tx.emit("checkout.session.completed", shapes.shown(complete))
    return complete


def _whose(customer: Obj | None) -> Obj:
    if customer is None:
        return {}
    details = shapes.customer_details(customer["email"], customer["name"])
    return {"customer": customer["id"], "customer_details": details}
