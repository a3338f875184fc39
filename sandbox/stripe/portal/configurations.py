"""/v1/billing_portal/configurations: what the customer portal lets customers do.

The account's default one can't be made here: at Stripe the Dashboard does (`make_default`, by the control endpoint).
Source: https://docs.stripe.com/api/customer_portal/configurations.
"""

from __future__ import annotations

from typing import Any

from sandbox.stripe.call import Context
from sandbox.stripe.errors import invalid, no_such, refused
from sandbox.stripe.ledger import Ledger, Transaction
from sandbox.stripe.lists import EXPAND, PAGE, alive, answer_list
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Check, Spec, boolean, choice, clearable, list_of, metadata, text, web_address

KIND = "billing_portal.configuration"
PATH = "/v1/billing_portal/configurations"
_PRORATIONS = choice("always_invoice", "create_prorations", "none")
_REASONS = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
_PRODUCT = Spec({"prices": list_of(text(), limit=10), "product": text()}, required=("prices", "product"))
_REASON = Spec({"enabled": boolean, "options": clearable(list_of(choice(*_REASONS)))}, required=("enabled",))
_FEATURES: dict[str, dict[str, Check]] = {
    "customer_update": {
        "allowed_updates": clearable(list_of(choice("address", "email", "name", "phone", "shipping", "tax_id")))
    },
    "invoice_history": {},
    "payment_method_update": {},
    "subscription_cancel": {
        "cancellation_reason": _REASON,
        "mode": choice("at_period_end", "immediately"),
        "proration_behavior": _PRORATIONS,
    },
    "subscription_update": {
        "default_allowed_updates": clearable(list_of(choice("price", "promotion_code", "quantity"))),
        "products": clearable(list_of(_PRODUCT, limit=10)),
        "proration_behavior": _PRORATIONS,
        "trial_update_behavior": choice("continue_trial", "end_trial"),
    },
}


def _features(required: tuple[str, ...]) -> Spec:
    return Spec({name: Spec({"enabled": boolean, **more}, required) for name, more in _FEATURES.items()})


_BUSINESS = Spec(
    {"headline": clearable(text(60)), "privacy_policy_url": web_address, "terms_of_service_url": web_address}
)
_SHARED: dict[str, Check] = {
    "business_profile": _BUSINESS,
    "default_return_url": clearable(web_address),
    "expand": EXPAND,
    "metadata": metadata,
    "name": clearable(text()),
}
CREATE = Spec({**_SHARED, "features": _features(("enabled",))}, required=("features",))
UPDATE = Spec({**_SHARED, "active": boolean, "features": _features(())})
LIST = Spec({**PAGE, "active": boolean, "is_default": boolean})
_OFF: dict[str, Obj] = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": []},
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": [],
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}


def create(ctx: Context) -> Obj:
    made: Obj = {
        "active": True,
        "application": None,
        "business_profile": {**dict.fromkeys(_BUSINESS.fields), **ctx.params.get("business_profile", {})},
        "default_return_url": ctx.params.get("default_return_url"),
        "features": _merged(ctx, _OFF),
        "is_default": False,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": ctx.params.get("name"),
        "updated": ctx.tx.wall,
        **ctx.metadata({}),
    }
    identifier = ctx.tx.ids.long("bpc")
    configuration = ctx.tx.put({"id": identifier, "object": KIND, "created": ctx.tx.wall, **made})
    ctx.tx.emit(f"{KIND}.created", configuration)
    return configuration


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, KIND, ctx.identifier)


def update(ctx: Context) -> Obj:
    before = alive(ctx, KIND, ctx.identifier)
    if ctx.params.get("active") is False and before["is_default"]:
        raise refused("You cannot deactivate the default configuration.", param="active")
    after = {
        **before,
        **ctx.fields("active", "default_return_url", "name"),
        **ctx.metadata(before["metadata"]),
        "business_profile": {**before["business_profile"], **ctx.params.get("business_profile", {})},
        "features": _merged(ctx, before["features"]),
        "updated": ctx.tx.wall,
    }
    ctx.tx.emit(f"{KIND}.updated", ctx.tx.put(after), before)
    return after


def list_all(ctx: Context) -> Obj:
    equal = ctx.fields("active", "is_default")
    return answer_list(ctx, KIND, keep=lambda configuration: equal.items() <= configuration.items(), url=PATH)


def _merged(ctx: Context, known: dict[str, Obj]) -> dict[str, Obj]:
    """The features as they will be (400 for what Stripe doesn't combine)."""
    sent: dict[str, dict[str, Any]] = ctx.params.get("features", {})
    features = {name: {**feature, **_filled(sent.get(name, {}))} for name, feature in known.items()}
    update = features["subscription_update"]
    if not update["enabled"]:
        return features
    if not features["payment_method_update"]["enabled"]:
        raise invalid("Cannot enable subscription updates while payment method update is disabled.")
    for name in ("default_allowed_updates", "products"):
        if not update[name]:
            param = f"features[subscription_update][{name}]"
            raise invalid(f"Missing required param: {param}.", param=param, code="parameter_missing")
    update["products"] = [_product(ctx, place, product) for place, product in enumerate(update["products"])]
    return features


def _filled(sent: dict[str, Any]) -> dict[str, Any]:
    """What was cleared is a list without entries."""
    filled = {name: [] if value is None else value for name, value in sent.items()}
    if "cancellation_reason" in filled:
        filled["cancellation_reason"] = {"options": [], **filled["cancellation_reason"]}
    return filled


def _product(ctx: Context, place: int, sent: Obj) -> Obj:
    """A product that customers may change to, by these of its prices."""
    param = f"features[subscription_update][products][{place}]"
    if ctx.ledger.tables["product"].live(sent["product"]) is None:
        raise no_such("product", sent["product"], f"{param}[product]")
    for number, name in enumerate(sent["prices"]):
        price = ctx.ledger.tables["price"].live(name)
        if price is None:
            raise no_such("price", name, f"{param}[prices][{number}]")
        if price["product"] != sent["product"] or price["type"] != "recurring":
            message = f"The price {name} must be a recurring price of the product {sent['product']}."
            raise refused(message, param=f"{param}[prices][{number}]")
    adjustable = {"enabled": False, "maximum": None, "minimum": 1}
    return {"adjustable_quantity": adjustable, "prices": sent["prices"], "product": sent["product"]}


def default(ledger: Ledger) -> Obj | None:
    return next((row for row in ledger.tables[KIND].all() if row["is_default"]), None)


def make_default(tx: Transaction, identifier: str) -> Obj:
    """The account's default from now on, as the Dashboard's settings are. ValueError: there is none of that id."""
    known = tx.ledger.tables[KIND].live(identifier)
    if known is None:
        raise ValueError(f"no such configuration: {identifier!r}")
    other = default(tx.ledger)
    if other is not None and other["id"] != identifier:
        tx.put({**other, "is_default": False})
    return tx.put({**known, "is_default": True})
