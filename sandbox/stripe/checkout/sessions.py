"""/v1/checkout/sessions in modes `subscription` and `setup`; `completing.py` has what the page does.

Source: https://docs.stripe.com/api/checkout/sessions, https://docs.stripe.com/payments/save-and-reuse.
"""

from __future__ import annotations

from typing import Any

from sandbox.stripe.agenda import DAY, HOUR
from sandbox.stripe.call import Context
from sandbox.stripe.checkout import shapes
from sandbox.stripe.errors import ApiError, invalid, refused, unsupported
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lists import EXPAND, PAGE, alive, answer_list, list_spec
from sandbox.stripe.objects import Obj, listing
from sandbox.stripe.params import Spec, choice, email, integer, list_of, merged, metadata, text, timestamp, web_address
from sandbox.stripe.prices import usable_price
from sandbox.stripe.setup_intents import cancel_now, new_intent
from sandbox.stripe.terms import END

KIND = "checkout.session"
PATH = "/v1/checkout/sessions"
LIFE = 24 * HOUR  # the default and the most
SHORTEST_LIFE = HOUR // 2
SHORTEST_TRIAL = 2 * DAY

_SUBSCRIPTION_DATA = Spec(
    {
        "billing_mode": Spec({"type": choice("classic", "flexible")}, required=("type",)),
        "description": text(500),
        "metadata": metadata,
        "trial_end": timestamp,
        "trial_period_days": integer(1, 730),
        "trial_settings": Spec({"end_behavior": END}, required=("end_behavior",)),
    }
)
_LINE_ITEM = Spec({"price": text(), "quantity": integer(1)}, required=("price", "quantity"))
CREATE = Spec(
    {
        "cancel_url": web_address,
        "client_reference_id": text(200),
        "currency": text(3),
        "customer": text(),
        "customer_creation": choice("always", "if_required"),
        "customer_email": email,
        "expand": EXPAND,
        "expires_at": timestamp,
        "line_items": list_of(_LINE_ITEM, limit=20),
        "metadata": metadata,
        "mode": choice("payment", "setup", "subscription"),
        "payment_method_collection": choice("always", "if_required"),
        "payment_method_types": list_of(choice("card")),
        "setup_intent_data": Spec({"description": text(1000), "metadata": metadata}),
        "subscription_data": _SUBSCRIPTION_DATA,
        "success_url": web_address,
        "ui_mode": choice("hosted_page"),
    },
    required=("mode", "success_url"),
)
UPDATE = Spec({"expand": EXPAND, "metadata": metadata})
EXPIRE = Spec({"expand": EXPAND})
LIST = list_spec(
    {
        "customer": text(),
        "customer_details": Spec({"email": email}, required=("email",)),
        "payment_intent": text(),
        "status": choice("complete", "expired", "open"),
        "subscription": text(),
    }
)
LINE_ITEMS = Spec(PAGE)
_OF_ONE_MODE = {
    "line_items": "subscription",
    "subscription_data": "subscription",
    "payment_method_collection": "subscription",
    "setup_intent_data": "setup",
    "customer_creation": "setup",
}


def create(ctx: Context) -> Obj:
    """An open session; in setup mode with its intent, whose events come first."""
    mode = ctx.params["mode"]
    if mode == "payment":
        raise unsupported("Checkout in payment mode")
    for name, its_mode in _OF_ONE_MODE.items():
        if name in ctx.params and its_mode != mode:
            raise invalid(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    customer = _customer(ctx)
    order = _order(ctx) if mode == "subscription" else _setup(ctx)
    identifier = f"cs_test_{ctx.tx.ids.unguessable(58)}"
    fields: Obj = {
        **ctx.fields("cancel_url", "client_reference_id", "customer_email", "payment_method_types"),
        **order,
        **ctx.metadata({}),
        "customer": customer and customer["id"],
        "customer_details": customer and shapes.customer_details(customer["email"], customer["name"]),
        "expires_at": _expires_at(ctx),
        "mode": mode,
        "success_url": ctx.params["success_url"],
        "url": f"{ctx.ledger.url}/c/pay/{identifier}",
    }
    if mode == "setup":
        sent = ctx.params.get("setup_intent_data", {})
        about = {**sent, "metadata": merged({}, sent.get("metadata")), "customer": fields["customer"]}
        fields["setup_intent"] = new_intent(ctx.tx, about)["id"]
    return shapes.shown(ctx.tx.put(shapes.session(identifier, ctx.tx.wall, fields)))


def _customer(ctx: Context) -> Obj | None:
    if {"customer", "customer_email"} <= ctx.params.keys():
        message = "You may only specify one of these parameters: customer, customer_email."
        raise invalid(message, code="parameters_exclusive")
    return alive(ctx, "customer", ctx.params["customer"], "customer") if "customer" in ctx.params else None


def _expires_at(ctx: Context) -> int:
    when: int = ctx.params.get("expires_at", ctx.tx.wall + LIFE)
    if when < ctx.tx.wall + SHORTEST_LIFE:
        message = "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation."
        raise invalid(message, param="expires_at")
    if when > ctx.tx.wall + LIFE:
        message = "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation."
        raise invalid(message, param="expires_at")
    return when


def _setup(ctx: Context) -> Obj:
    if not ctx.params.keys() & {"currency", "payment_method_types"}:
        message = "You must pass `currency` in `setup` mode when `payment_method_types` is not set."
        raise invalid(message, param="currency", code="parameter_missing")
    creation = None if "customer" in ctx.params else ctx.params.get("customer_creation", "if_required")
    currency = ctx.params["currency"].lower() if "currency" in ctx.params else None
    order: Obj = {"items": [], "terms": {}}
    return {
        "currency": currency,
        "customer_creation": creation,
        "payment_status": "no_payment_required",
        "_order": order,
    }


def _order(ctx: Context) -> Obj:
    sent = ctx.params.get("line_items", [])
    if not sent:
        raise invalid("Missing required param: line_items.", param="line_items", code="parameter_missing")
    prices = [usable_price(ctx, item["price"], f"line_items[{place}][price]") for place, item in enumerate(sent)]
    currency = str(ctx.params.get("currency", prices[0]["currency"])).lower()
    if {price["currency"] for price in prices} != {currency}:
        raise refused("All prices of a Checkout Session must have its currency.", param="line_items")
    terms = ctx.params.get("subscription_data", {})
    _check_trial(ctx, terms)
    trial = bool(terms.keys() & {"trial_end", "trial_period_days"})
    items = [
        shapes.line_item(ctx.tx.ids.long("li"), price, item["quantity"], _name(ctx, price), trial=trial)
        for price, item in zip(prices, sent, strict=True)
    ]
    collection = ctx.params.get("payment_method_collection", "always")
    return {
        "currency": currency,
        "payment_method_collection": collection,
        **shapes.totals(items),
        "_order": {"items": items, "terms": terms},
    }


def _name(ctx: Context, price: Obj) -> str:
    return str(ctx.ledger.tables["product"].rows[price["product"]].get("name", price["product"]))


def _check_trial(ctx: Context, terms: dict[str, Any]) -> None:
    if {"trial_end", "trial_period_days"} <= terms.keys():
        message = "You may only specify one of these parameters: trial_end, trial_period_days."
        raise invalid(message, param="subscription_data", code="parameters_exclusive")
    if "trial_end" in terms and terms["trial_end"] < ctx.now + SHORTEST_TRIAL:
        message = "The `trial_end` date has to be at least 2 days in the future."
        raise invalid(message, param="subscription_data[trial_end]")


def retrieve(ctx: Context) -> Obj:
    return shapes.shown(alive(ctx, KIND, ctx.identifier))


def update(ctx: Context) -> Obj:
    before = alive(ctx, KIND, ctx.identifier)
    return shapes.shown(ctx.tx.put({**before, **ctx.metadata(before["metadata"])}))


def list_line_items(ctx: Context) -> Obj:
    """All of them: a session has 20 at most, so there is one page."""
    session = alive(ctx, KIND, ctx.identifier)
    return listing(f"{PATH}/{session['id']}/line_items", session["_order"]["items"], has_more=False)


def list_all(ctx: Context) -> Obj:
    equal, details = ctx.fields("status"), ctx.params.get("customer_details")

    def keep(session: Obj) -> bool:
        about = session["customer_details"] or {}
        return equal.items() <= session.items() and (details is None or about.get("email") == details["email"])

    where = ctx.fields("customer", "payment_intent", "subscription")
    page = answer_list(ctx, KIND, where=where, keep=keep, url=PATH)
    return {**page, "data": [shapes.shown(session) for session in page["data"]]}


def expire(ctx: Context) -> Obj:
    session = alive(ctx, KIND, ctx.identifier)
    if session["status"] != "open":
        raise _not_open(session)
    return shapes.shown(expire_now(ctx.tx, session))


def _not_open(session: Obj) -> ApiError:
    message = (
        'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of'
        f" `{session['status']}`."
    )
    return refused(message)


def expire_now(tx: Transaction, session: Obj) -> Obj:
    """Nobody can complete it any more; the intent of setup mode ends with it."""
    if session["setup_intent"] is not None:
        cancel_now(tx, tx.get(session["setup_intent"]), None)
    expired = tx.put({**session, "status": "expired", "url": None})
    tx.emit("checkout.session.expired", shapes.shown(expired))
    return expired
