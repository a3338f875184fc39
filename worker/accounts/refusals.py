"""What a refusal of Stripe's means to who asked for a change."""

from __future__ import annotations

import re

from worker.domain.account_changes import PROPERTIES, AccountChange, ChangeRefused, Kind, Step
from worker.domain.accounts import ApiError
from worker.domain.customer_details import TaxId
from worker.errors import SubkeeperError, TryLater
from worker.stripe_api.errors import CustomerGone, Failure, Unauthorized, refusal_of

MISSING = "resource_missing"
WRONG, DECLINED, FORBIDDEN = 400, 402, 403


def is_missing(error: SubkeeperError) -> bool:
    """Whether Stripe says that there is no such subscription, or none that could still end."""
    failure = refusal_of(error)
    return failure is not None and failure.code == MISSING


def meant(change: AccountChange, error: SubkeeperError) -> SubkeeperError:
    """What an error means to who asked, where it is Stripe's refusal; else the error itself."""
    if isinstance(error, Unauthorized) and error.failure.status == FORBIDDEN:
        return _not_permitted(change)  # a key that may do one thing may lack the permission for another: that goes on
    failure = refusal_of(error)
    if failure is None:
        return error
    if change.kind is Kind.DETAILS and not isinstance(error, CustomerGone) and failure.status == WRONG:
        return _details_refused(change, failure)
    return refused_by_stripe(change.step, failure)


def _not_permitted(change: AccountChange) -> SubkeeperError:
    """What a page has come to waits for the permission: the user has done their part."""
    if change.kind is Kind.COMPLETION:
        return TryLater("not_permitted")
    return ChangeRefused("not_permitted", "our key may not do this at Stripe: see the permissions that it needs")


def refused_by_stripe(step: Step | None, failure: Failure) -> ChangeRefused:
    """In Stripe's constants; its words may quote what was sent."""
    pointer = f"/{PROPERTIES[step]}" if step is not None and step in PROPERTIES else ""
    said = failure.code or failure.type or "refused"
    if failure.status == DECLINED:
        errors = [ApiError(pointer, said, "the card was declined, or asks for what only Stripe's pages can do")]
        return ChangeRefused("card_declined", "the card was declined", errors)
    if failure.code == MISSING and _is_customers(failure):
        return ChangeRefused("customer_gone", "the user's customer was deleted at Stripe")
    return ChangeRefused("refused", "Stripe refuses it", [ApiError(pointer, said, "Stripe refuses it")])


def _is_customers(failure: Failure) -> bool:
    """Whether it is about the customer that the request names, or goes to."""
    param = failure.param or ""
    return param.startswith("customer") or (param == "id" and failure.operation.startswith(("customers.", "tax_ids.")))


def _details_refused(change: AccountChange, failure: Failure) -> ChangeRefused:
    """What is on the bills is the asker's, and so is what is wrong with it."""
    named = "/".join(re.findall(r"[a-z0-9_]+", failure.param or ""))
    if change.step is Step.TAX_ID:
        place = f"/tax_ids/{change.tax_id_number}" + (f"/{named}" if named in TaxId._fields else "")
    else:
        place = f"/{named}" if named.partition("/")[0] in {"name", "address"} else ""
    said = failure.code or failure.type or "refused"
    return ChangeRefused("details_refused", "Stripe refuses it", [ApiError(place, said, "Stripe doesn't take it")])
