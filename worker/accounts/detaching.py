"""Takes a payment method from its customer at Stripe."""

from __future__ import annotations

from worker.accounts.refusals import is_missing
from worker.domain.deadline import Deadline
from worker.errors import SubkeeperError
from worker.stripe_api.account_calls import AccountCalls
from worker.stripe_api.errors import refusal_of


def detach(calls: AccountCalls, payment_method_id: str, customer_id: str, *, key: str, deadline: Deadline) -> None:
    """Stripe refuses it for one that is nobody's, in words alone: so whose it is then is looked at, and one that isn't
    the customer's any more is gone, whoever took it. Raises what the gateway raises."""
    try:
        calls.detach(payment_method_id, key=key, deadline=deadline)
    except SubkeeperError as error:
        if refusal_of(error) is None or _holder(calls, payment_method_id, deadline) == customer_id:
            raise


def _holder(calls: AccountCalls, payment_method_id: str, deadline: Deadline) -> str | None:
    """Whose it is."""
    try:
        return calls.payment_method_customer(payment_method_id, deadline=deadline)
    except SubkeeperError as error:
        if not is_missing(error):
            raise
        return None
