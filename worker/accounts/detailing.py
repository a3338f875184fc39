"""The steps that change what is on a customer's bills: one request each, or those that a list of tax ids comes to."""

from __future__ import annotations

from dataclasses import replace

from worker.accounts.refusals import is_missing
from worker.domain.account_changes import AccountChange, Step
from worker.domain.accounts import UNSET
from worker.domain.customer_details import CustomerDetails, address_request, from_json, name_request
from worker.domain.deadline import Deadline
from worker.errors import SubkeeperError, TryLater
from worker.sealing import CannotOpen, Sealer
from worker.stripe_api.account_calls import AccountCalls

TAX_IDS = "tax_ids"
"""In `wanted`: Stripe's ids of those that are there as asked for."""


def opened(sealer: Sealer, change: AccountChange) -> str:
    """What was sealed of it. Raises `TryLater` without its key."""
    assert change.sealed_email is not None, "erased with the last step that needs it"
    try:
        return sealer.open(change.sealed_email, change.id.bytes).decode()
    except CannotOpen as error:
        raise TryLater(f"sealed: {error.reason}") from error


class Detailing:
    def __init__(self, calls: AccountCalls, sealer: Sealer) -> None:
        self._calls = calls
        self._sealer = sealer

    def ask(self, change: AccountChange, customer_id: str, *, key: str, deadline: Deadline) -> AccountChange:
        """The change as it goes on from its present step, which Stripe has taken."""
        details = from_json(opened(self._sealer, change))
        if change.step is Step.TAX_ID:
            return self._add(change, details, customer_id, key, deadline)
        if change.step is Step.OTHER_TAX_IDS:
            return self._drop_others(change, customer_id, deadline)
        if change.step is Step.NAME:
            assert details.name is not UNSET, "as planned"
            request = name_request(details.name)
        else:
            assert details.address is not UNSET, "as planned"
            request = address_request(details.address)
        self._calls.update_customer(customer_id, request, key=key, deadline=deadline)
        return change

    def _add(
        self, change: AccountChange, details: CustomerDetails, customer_id: str, key: str, deadline: Deadline
    ) -> AccountChange:
        """What is there already isn't asked for: Stripe would have it twice."""
        assert details.tax_ids is not UNSET, "as planned"
        wanted = details.tax_ids[change.tax_id_number]
        there = self._calls.tax_ids(customer_id, deadline=deadline)
        found = next((each for each, tax_id in there.items() if tax_id.is_like(wanted)), None)
        found = found or self._calls.create_tax_id(customer_id, wanted, key=key, deadline=deadline)
        return replace(change, wanted={**change.wanted, TAX_IDS: f"{change.wanted.get(TAX_IDS, '')} {found}".strip()})

    def _drop_others(self, change: AccountChange, customer_id: str, deadline: Deadline) -> AccountChange:
        kept = str(change.wanted.get(TAX_IDS, "")).split()
        for each in self._calls.tax_ids(customer_id, deadline=deadline):
            if each in kept:
                continue
            try:
                self._calls.delete_tax_id(customer_id, each, deadline=deadline)
            except SubkeeperError as error:
                if not is_missing(error):  # somebody else was quicker, or an answer of ours was lost
                    raise
        return change
