"""/v1/billing_portal/sessions: a link for one customer into the portal, or into one of its flows.

Source: https://docs.stripe.com/api/customer_portal/sessions, https://docs.stripe.com/customer-management/portal-deep-links.
The refusals' words are Stripe's as far as others quote them.
"""

from __future__ import annotations

from typing import Any

from sandbox.stripe.call import Context
from sandbox.stripe.errors import ApiError, invalid, no_such, refused
from sandbox.stripe.lifecycle import TERMINAL
from sandbox.stripe.lists import EXPAND, alive
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, choice, text, web_address
from sandbox.stripe.portal import configurations

KIND = "billing_portal.session"
_SUBSCRIPTION = Spec({"subscription": text()}, required=("subscription",))
_AFTER = Spec(
    {
        "hosted_confirmation": Spec({"custom_message": text(500)}),
        "redirect": Spec({"return_url": web_address}, required=("return_url",)),
        "type": choice("hosted_confirmation", "portal_homepage", "redirect"),
    },
    required=("type",),
)
_FLOW = Spec(
    {
        "after_completion": _AFTER,
        "subscription_cancel": _SUBSCRIPTION,
        "subscription_update": _SUBSCRIPTION,
        "type": choice("payment_method_update", "subscription_cancel", "subscription_update"),
    },
    required=("type",),
)
CREATE = Spec(
    {
        "configuration": text(),
        "customer": text(),
        "expand": EXPAND,
        "flow_data": _FLOW,
        "locale": text(10),
        "return_url": web_address,
    },
    required=("customer",),
)
UPDATABLE = ("active", "past_due", "trialing")
"""The statuses in which the portal changes a plan (a belief: Stripe's pages name the kinds of subscriptions that it
can't change, of these only that they have ended)."""


def create(ctx: Context) -> Obj:
    customer = alive(ctx, "customer", ctx.params["customer"], "customer")
    configuration = _configuration(ctx)
    return_url = ctx.params.get("return_url", configuration["default_return_url"])
    fields: Obj = {
        "configuration": configuration["id"],
        "customer": customer["id"],
        "customer_account": None,
        "flow": _flow(ctx, customer, configuration) if "flow_data" in ctx.params else None,
        "livemode": False,
        "locale": ctx.params.get("locale"),
        "on_behalf_of": None,
        "return_url": return_url,
        "url": f"{ctx.ledger.url}/p/session/test_{ctx.tx.ids.unguessable(58)}",
    }
    session = ctx.tx.put({"id": ctx.tx.ids.long("bps"), "object": KIND, "created": ctx.tx.wall, **fields})
    ctx.tx.emit(f"{KIND}.created", session)
    return session


def _configuration(ctx: Context) -> Obj:
    if "configuration" in ctx.params:
        named = alive(ctx, configurations.KIND, ctx.params["configuration"], "configuration")
        if not named["active"]:
            raise refused("The configuration is inactive, so it cannot be used to create sessions.", "configuration")
        return named
    found = configurations.default(ctx.ledger)
    if found is None:
        message = (
            "No configuration provided and your test mode default configuration has not been created. Provide a"
            " configuration or create your default by saving your customer portal settings in test mode at"
            " https://dashboard.stripe.com/test/settings/billing/portal."
        )
        raise refused(message)
    return found


def _flow(ctx: Context, customer: Obj, configuration: Obj) -> Obj:
    sent: dict[str, Any] = ctx.params["flow_data"]
    kind, features = sent["type"], configuration["features"]
    flow: Obj = {
        **dict.fromkeys(("subscription_cancel", "subscription_update", "subscription_update_confirm")),
        "after_completion": _after(sent.get("after_completion", {"type": "portal_homepage"})),
        "customer_update": None,
        "type": kind,
    }
    if kind == "payment_method_update":
        if not features[kind]["enabled"]:
            raise refused("The payment method update feature in the portal configuration is disabled.")
        return flow
    if kind not in sent:
        param = f"flow_data[{kind}]"
        raise invalid(f"Missing required param: {param}.", param=param, code="parameter_missing")
    sub = _subscription(ctx, customer, sent[kind]["subscription"], f"flow_data[{kind}][subscription]")
    problem = (cancel_problem if kind == "subscription_cancel" else update_problem)(sub, features)
    if problem is not None:
        raise refused(problem, param=f"flow_data[{kind}][subscription]")
    detail = {"subscription": sub["id"]}
    flow[kind] = {**detail, "retention": None} if kind == "subscription_cancel" else detail
    return flow


def _after(sent: dict[str, Any]) -> Obj:
    kind = sent["type"]
    if kind == "redirect" and "redirect" not in sent:
        raise _missing("flow_data[after_completion][redirect]")
    message = sent.get("hosted_confirmation", {}).get("custom_message")
    return {
        "hosted_confirmation": {"custom_message": message} if kind == "hosted_confirmation" else None,
        "redirect": sent["redirect"] if kind == "redirect" else None,
        "type": kind,
    }


def _missing(param: str) -> ApiError:
    return invalid(f"Missing required param: {param}.", param=param, code="parameter_missing")


def _subscription(ctx: Context, customer: Obj, identifier: str, param: str) -> Obj:
    sub = ctx.ledger.tables["subscription"].live(identifier)
    if sub is None or sub["customer"] != customer["id"]:
        raise no_such("subscription", identifier, param)
    return sub


def cancel_problem(sub: Obj, features: Obj) -> str | None:
    """Why the portal doesn't cancel a subscription; None where it does."""
    start = "This subscription cannot be canceled because"
    if not features["subscription_cancel"]["enabled"]:
        return f"{start} the subscription cancel feature in the portal configuration is disabled."
    if sub["status"] in TERMINAL:
        return f"{start} it is already canceled."
    if sub["cancel_at"] is not None or sub["cancel_at_period_end"]:
        return f"The subscription {sub['id']} is already set to be canceled at period end."
    return None


def update_problem(sub: Obj, features: Obj) -> str | None:
    """Why the portal doesn't change a subscription's plan; None where it does."""
    start = "This subscription cannot be updated because"
    if not features["subscription_update"]["enabled"]:
        return f"{start} the subscription update feature in the portal configuration is disabled."
    if sub["status"] not in UPDATABLE:
        return f"{start} its status is `{sub['status']}`."
    if len(sub["items"]["data"]) != 1:
        return f"{start} it contains multiple products."
    if sub["collection_method"] != "charge_automatically":
        return f"{start} it is not charged automatically."
    return None
