"""/v1/setup_intents: a card is set up for later payments, and attached to the intent's customer.

A card that asks for its owner stays at `requires_action` until somebody answers on the page that `next_action` names.
Source: https://docs.stripe.com/payments/paymentintents/lifecycle, https://docs.stripe.com/api/setup_intents.
"""

from __future__ import annotations

from sandbox.stripe import cards, payment_objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import ApiError, invalid, refused
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lists import EXPAND, alive, answer_list, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, boolean, choice, clearable, list_of, merged, metadata, text
from sandbox.stripe.payment_methods import attach_to, resolve

_FIELDS = ("description", "usage", "payment_method_types")
CREATE = Spec(
    {
        "automatic_payment_methods": Spec(
            {"allow_redirects": choice("always", "never"), "enabled": boolean}, required=("enabled",)
        ),
        "confirm": boolean,
        "customer": text(),
        "description": clearable(text(1000)),
        "expand": EXPAND,
        "metadata": metadata,
        "payment_method": text(),
        "payment_method_types": list_of(choice("card")),
        "return_url": text(),
        "usage": choice("off_session", "on_session"),
    }
)
CONFIRM = Spec({"expand": EXPAND, "payment_method": text(), "return_url": text()})
CANCEL = Spec({"cancellation_reason": choice("abandoned", "duplicate", "requested_by_customer"), "expand": EXPAND})
LIST = list_spec({"customer": text(), "payment_method": text()})


def new_intent(tx: Transaction, fields: Obj) -> Obj:
    identifier = tx.ids.long("seti")
    intent = payment_objects.setup_intent(identifier, tx.wall, tx.ids.unguessable(), fields)
    tx.put(intent)
    tx.emit("setup_intent.created", intent)
    return intent


def create(ctx: Context) -> Obj:
    if "customer" in ctx.params:
        alive(ctx, "customer", ctx.params["customer"], "customer")
    fields = {**ctx.fields("customer", *_FIELDS), "metadata": merged({}, ctx.params.get("metadata") or {})}
    if "automatic_payment_methods" in ctx.params:
        fields["automatic_payment_methods"] = {"allow_redirects": "always", **ctx.params["automatic_payment_methods"]}
    if "payment_method" in ctx.params:
        method = resolve(ctx, ctx.params["payment_method"], "payment_method")
        fields |= {"payment_method": method["id"], "status": "requires_confirmation"}
    intent = new_intent(ctx.tx, fields)
    return confirm_now(ctx, intent) if ctx.params.get("confirm") else intent


def confirm(ctx: Context) -> Obj:
    intent = _own(ctx, "confirm")
    if "payment_method" in ctx.params:
        method = resolve(ctx, ctx.params["payment_method"], "payment_method")
        intent = {**intent, "payment_method": method["id"]}
    return confirm_now(ctx, intent)


def confirm_now(ctx: Context, intent: Obj) -> Obj:
    """Sets the card up: the intent is at `succeeded`, or at `requires_action` until its owner was asked.

    Raises 402 for a card that is declined.
    """
    if intent["payment_method"] is None:
        message = "You cannot confirm this SetupIntent because it's missing a payment method."
        raise invalid(message, code="setup_intent_unexpected_state")
    if intent["customer"] is not None:
        alive(ctx, "customer", intent["customer"], "customer")
    method = ctx.tx.get(intent["payment_method"])
    if cards.asks_customer(method) and method["id"] not in ctx.tx.authenticated:
        action = payment_objects.redirect(ctx.ledger.url, intent, ctx.params.get("return_url"))
        after = ctx.tx.put({**intent, "next_action": action, "status": "requires_action"})
        ctx.tx.emit("setup_intent.requires_action", after)
        return after
    decline = cards.attaching(method, ctx.now)
    if decline is not None:
        raise fail(ctx.tx, intent, method, decline)
    if intent["customer"] is not None:
        attach_to(ctx, method, intent["customer"])
    after = ctx.tx.put({**intent, "last_setup_error": None, "next_action": None, "status": "succeeded"})
    ctx.tx.emit("setup_intent.succeeded", after)
    _tell_subscription(ctx, after)
    return after


def fail(tx: Transaction, intent: Obj, method: Obj, decline: cards.Decline) -> ApiError:
    """The card isn't set up, another one may be: the intent's event, and the 402 that says why."""
    problem = cards.problem(decline, method)
    fields = {"next_action": None, "payment_method": None, "status": "requires_payment_method"}
    after = tx.put({**intent, **fields, "last_setup_error": problem})
    tx.emit("setup_intent.setup_failed", after)
    return cards.declined(decline, method, setup_intent=after)


def _tell_subscription(ctx: Context, intent: Obj) -> None:
    """The subscription that waited for this setup waits no longer, and keeps the card if it was told to."""
    if intent["customer"] is None:
        return
    for sub in ctx.ledger.tables["subscription"].by("customer", intent["customer"]):
        if sub["pending_setup_intent"] == intent["id"] and sub["ended_at"] is None:
            fields = {"pending_setup_intent": None}
            if sub["payment_settings"]["save_default_payment_method"] == "on_subscription":
                fields["default_payment_method"] = intent["payment_method"]
            ctx.tx.emit("customer.subscription.updated", ctx.tx.put({**sub, **fields}), sub)


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, "setup_intent", ctx.identifier)


def cancel(ctx: Context) -> Obj:
    return cancel_now(ctx.tx, _own(ctx, "cancel"), ctx.params.get("cancellation_reason"))


def cancel_now(tx: Transaction, intent: Obj, reason: str | None) -> Obj:
    after = tx.put({**intent, "cancellation_reason": reason, "next_action": None, "status": "canceled"})
    tx.emit("setup_intent.canceled", after)
    return after


def _own(ctx: Context, verb: str) -> Obj:
    """The intent, if that may be done to it: what is Checkout's is done on its page, or by expiring the session."""
    intent = alive(ctx, "setup_intent", ctx.identifier)
    if intent["status"] in ("succeeded", "canceled"):
        raise _unexpected(intent, verb)
    if ctx.ledger.tables["checkout.session"].by("setup_intent", intent["id"]):
        message = f"You cannot {verb} this SetupIntent because it was created by Checkout."
        raise refused(message, code="setup_intent_unexpected_state")
    return intent


def _unexpected(intent: Obj, verb: str) -> Exception:
    message = f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}."
    return refused(message, code="setup_intent_unexpected_state")


def list_all(ctx: Context) -> Obj:
    method = ctx.fields("payment_method")
    return answer_list(
        ctx, "setup_intent", where=ctx.fields("customer"), keep=lambda intent: method.items() <= intent.items()
    )
