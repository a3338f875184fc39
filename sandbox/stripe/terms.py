"""What a subscription may be asked to be: the parameters that creating and updating share, and what they mean."""

from __future__ import annotations

from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.agenda import DAY
from sandbox.stripe.call import Context
from sandbox.stripe.errors import invalid, refused
from sandbox.stripe.lists import EXPAND
from sandbox.stripe.params import (
    Check,
    Spec,
    boolean,
    choice,
    clearable,
    integer,
    metadata,
    now_or,
    text,
    timestamp,
)
from sandbox.stripe.payment_methods import own

MAX_TRIAL = 730 * DAY

END = Spec(
    {"missing_payment_method": choice("cancel", "create_invoice", "pause")}, required=("missing_payment_method",)
)
DETAILS = Spec({"comment": clearable(text()), "feedback": clearable(text())})
SHARED: dict[str, Check] = {
    "cancel_at": clearable(timestamp),
    "cancel_at_period_end": boolean,
    "collection_method": choice("charge_automatically", "send_invoice"),
    "days_until_due": integer(0),
    "default_payment_method": clearable(text()),
    "description": clearable(text(500)),
    "expand": EXPAND,
    "metadata": metadata,
    "off_session": boolean,
    "payment_behavior": choice(
        "allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"
    ),
    "payment_settings": Spec({"save_default_payment_method": choice("off", "on_subscription")}),
    "proration_behavior": choice("always_invoice", "create_prorations", "none"),
    "trial_end": now_or(timestamp),
    "trial_settings": Spec({"end_behavior": END}, required=("end_behavior",)),
}
KEPT = ("cancel_at_period_end", "collection_method", "days_until_due", "description", "trial_settings")


def card_fields(ctx: Context, known: dict[str, Any]) -> dict[str, Any]:
    """What was sent about paying, for a subscription (`known`) of which at least the customer is known."""
    fields: dict[str, Any] = {}
    if "default_payment_method" in ctx.params:
        sent = ctx.params["default_payment_method"]
        fields["default_payment_method"] = own(ctx, sent, known["customer"], "default_payment_method")
    if "payment_settings" in ctx.params:
        fields["payment_settings"] = {**known["payment_settings"], **ctx.params["payment_settings"]}
    return fields


def trial_end_of(ctx: Context) -> int | None:
    """When the trial that was asked for ends: after now, within two years (400, param `trial_end`)."""
    if {"trial_end", "trial_period_days"} <= ctx.params.keys():
        message = "Received both trial_end and trial_period_days parameters. Please pass in only one."
        raise invalid(message, param="trial_end")
    sent = ctx.params.get("trial_end")
    if sent is not None and "trial_period_days" in ctx.params:
        message = "You may only specify one of these parameters: trial_end, trial_period_days."
        raise invalid(message, code="parameters_exclusive")
    if sent is None and "trial_period_days" in ctx.params:
        sent = ctx.now + ctx.params["trial_period_days"] * DAY
    if sent is None or sent == "now":
        return None
    if sent <= ctx.now:
        raise refused("Invalid timestamp: must be an integer Unix timestamp in the future.", param="trial_end")
    if sent > ctx.now + MAX_TRIAL:
        raise refused("Invalid timestamp: can be no more than two years in the future.", param="trial_end")
    return int(sent)


def cancel_fields(ctx: Context, period_end: int) -> dict[str, Any]:
    """What `cancel_at` and `cancel_at_period_end` mean for the subscription."""
    if ctx.params.get("cancel_at_period_end"):
        return {"cancel_at": period_end, "canceled_at": ctx.now, **_requested()}
    if "cancel_at" in ctx.params:
        when = ctx.params["cancel_at"]
        if when is not None and when <= ctx.now:
            raise refused("Invalid timestamp: must be an integer Unix timestamp in the future.", param="cancel_at")
        return {"cancel_at": when, "canceled_at": ctx.now if when else None}
    if "cancel_at_period_end" in ctx.params:
        return {"cancel_at": None, "canceled_at": None, "cancellation_details": objects.cancellation()}
    return {}


def _requested() -> dict[str, Any]:
    return {"cancellation_details": objects.cancellation("cancellation_requested")}
