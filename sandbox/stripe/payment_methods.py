"""/v1/payment_methods: cards alone. Test cards are named by token (`tok_visa`), by id (`pm_card_visa`) or by number.

The ids `pm_card_…` work wherever a payment method is named for the first time, and make a new one each time, as
Stripe's do. Source: https://docs.stripe.com/testing, https://docs.stripe.com/api/payment_methods.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from sandbox.stripe import cards, payment_objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import invalid, no_such, refused
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lists import EXPAND, PAGE, alive, answer_list
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Check, Spec, choice, clearable, email, integer, merged, metadata, text

_YEARS = 5  # a test card's life, where nothing else is asked for
_ADDRESS = Spec({part: text() for part in ("city", "country", "line1", "line2", "postal_code", "state")})
_BILLING = Spec(
    {
        "address": clearable(_ADDRESS),
        "email": clearable(email),
        "name": clearable(text()),
        "phone": clearable(text()),
        "tax_id": text(),
    }
)
_EXPIRY: dict[str, Check] = {"exp_month": integer(1, 12), "exp_year": integer(1970, 9999)}
_SHARED: dict[str, Check] = {"billing_details": _BILLING, "metadata": metadata, "expand": EXPAND}
CREATE = Spec(
    {**_SHARED, "card": Spec({**_EXPIRY, "cvc": text(), "number": text(), "token": text()}), "type": choice("card")},
    required=("type",),
)
UPDATE = Spec({**_SHARED, "card": Spec(_EXPIRY)})
ATTACH = Spec({"customer": text(), "expand": EXPAND}, required=("customer",))
DETACH = Spec({"expand": EXPAND})
LIST = Spec({**PAGE, "customer": text(), "type": choice("card")})
LIST_OF_CUSTOMER = Spec({**PAGE, "type": choice("card")})


def create(ctx: Context) -> Obj:
    sent = ctx.params.get("card", {})
    card = _named(sent["token"], "tok_", "card[token]") if "token" in sent else _numbered(sent)
    expires = None if "token" in sent else (sent["exp_month"], sent["exp_year"])
    return _new(ctx, card, expires)


def _named(name: str, prefix: str, param: str) -> cards.TestCard:
    card = cards.BY_NAME.get(name.removeprefix(prefix))
    if card is None or not name.startswith(prefix):
        raise no_such("token" if prefix == "tok_" else "PaymentMethod", name, param)
    return card


def _numbered(sent: Obj) -> cards.TestCard:
    for field in ("number", "exp_month", "exp_year"):
        if field not in sent:
            raise invalid(f"Missing required param: card[{field}].", f"card[{field}]", "parameter_missing")
    card = cards.BY_NUMBER.get(sent["number"].replace(" ", ""))
    if card is None:
        raise refused("Your card number is none of the test cards that are known here.", param="card[number]")
    return card


def _new(ctx: Context, card: cards.TestCard, expires: tuple[int, int] | None) -> Obj:
    made = payment_objects.payment_method(
        ctx.tx.ids.long("pm"),
        ctx.tx.wall,
        card=payment_objects.card(
            card.number,
            brand=card.brand,
            funding=card.funding,
            expires=expires or (12, datetime.fromtimestamp(max(ctx.now, ctx.tx.wall), UTC).year + _YEARS),
            fingerprint=hashlib.sha256(card.number.encode()).hexdigest()[:16],
        ),
        billing_details=ctx.params.get("billing_details", {}),
        metadata=merged({}, ctx.params.get("metadata") or {}),
    )
    return ctx.tx.put(made)


def resolve(ctx: Context, identifier: str, param: str) -> Obj:
    """The payment method of that id; a new one for a test card's name."""
    if identifier.startswith("pm_card_"):
        return _new(ctx, _named(identifier, "pm_card_", param), None)
    found = ctx.tx.find(identifier)
    if found is None or found["object"] != "payment_method":
        raise no_such("PaymentMethod", identifier, param)
    return found


def attach_to(ctx: Context, method: Obj, customer: str) -> Obj:
    """The method as the customer's (402 for a card that is declined, 400 for another customer's)."""
    if method["customer"] == customer:
        return method
    if method["customer"] is not None:
        raise refused("The payment method you provided has already been attached to a customer.")
    if method["id"] in ctx.ledger.detached:
        message = (
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a"
            " Customer, and may not be used again."
        )
        raise refused(message)
    decline = cards.attaching(method, ctx.now)
    if decline is not None:
        raise cards.declined(decline, method)
    attached = ctx.tx.put({**method, "customer": customer})
    ctx.tx.emit("payment_method.attached", attached)
    return attached


def own(ctx: Context, identifier: str | None, customer: str, param: str) -> str | None:
    """A default payment method as sent: it must be attached to that customer (400)."""
    if identifier is None:
        return None
    method = ctx.tx.find(identifier)
    if method is None or method["object"] != "payment_method" or method["customer"] != customer:
        message = (
            f"The customer does not have a payment method with the ID {identifier}. The payment method must be attached"
            " to the customer."
        )
        raise refused(message, param=param, code="resource_missing")
    return identifier


def attach(ctx: Context) -> Obj:
    customer = alive(ctx, "customer", ctx.params["customer"], "customer")
    return attach_to(ctx, resolve(ctx, ctx.identifier, "id"), customer["id"])


def detach(ctx: Context) -> Obj:
    method = alive(ctx, "payment_method", ctx.identifier)
    if method["customer"] is None:
        raise refused("The payment method you provided is not attached to a customer so detachment is impossible.")
    return detach_now(ctx.tx, method)


def detach_now(tx: Transaction, method: Obj) -> Obj:
    """Takes the method from its customer, and from where it was the default."""
    customer = tx.find(method["customer"])
    tx.enter(None if customer is None else customer["test_clock"])
    detached = tx.put({**method, "customer": None})
    tx.emit("payment_method.detached", detached, method)
    if customer is not None and customer["invoice_settings"]["default_payment_method"] == method["id"]:
        settings = {**customer["invoice_settings"], "default_payment_method": None}
        tx.emit("customer.updated", tx.put({**customer, "invoice_settings": settings}), customer)
    for row in tx.ledger.tables["subscription"].by("customer", method["customer"]):
        sub = tx.get(row["id"])
        if sub["default_payment_method"] == method["id"] and sub["ended_at"] is None:
            tx.emit("customer.subscription.updated", tx.put({**sub, "default_payment_method": None}), sub)
    return detached


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, "payment_method", ctx.identifier)


def update(ctx: Context) -> Obj:
    before = alive(ctx, "payment_method", ctx.identifier)
    if before["customer"] is None:
        message = "You must save this PaymentMethod to a customer before you can update it."
        raise refused(message)
    fields = ctx.metadata(before["metadata"])
    if "card" in ctx.params:
        fields["card"] = {**before["card"], **ctx.params["card"]}
    if "billing_details" in ctx.params:
        fields["billing_details"] = {**before["billing_details"], **ctx.params["billing_details"]}
    after = ctx.tx.put({**before, **fields})
    ctx.tx.emit("payment_method.updated", after, before)
    return after


def list_all(ctx: Context) -> Obj:
    """Those of a customer; without one, none (Stripe lists those that belong to nobody's, which serves no test)."""
    if "customer" not in ctx.params:
        return answer_list(ctx, "payment_method", keep=lambda _: False)
    customer = alive(ctx, "customer", ctx.params["customer"], "customer")
    return answer_list(ctx, "payment_method", where={"customer": customer["id"]})


def list_of_customer(ctx: Context) -> Obj:
    customer = alive(ctx, "customer", ctx.identifier)
    url = f"/v1/customers/{customer['id']}/payment_methods"
    return answer_list(ctx, "payment_method", where={"customer": customer["id"]}, url=url)
