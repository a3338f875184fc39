"""What changes of an account ask of Stripe, one request each: cards, customers, subscriptions.

https://docs.stripe.com/api/subscriptions/update, https://docs.stripe.com/api/payment_methods/attach
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from worker.domain.changing import Changeable
from worker.domain.customer_details import TaxId
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer, ExpandedCustomer, FetchedSubscription
from worker.stripe_api.parsing import Fields, expanded_customer, fetched_subscription
from worker.stripe_api.requestor import Call, Requestor, segment

PAGE = 100
"""Tax ids a page, the most that Stripe gives: a customer has a handful."""

EXPANDED = {"expand": ["latest_invoice", "customer"]}


class Changing(NamedTuple):
    """A subscription: what our row keeps of it, and what decides how it is changed."""

    found: FetchedSubscription
    now: Changeable


class AccountCalls:
    """Every write carries the caller's idempotency key; whoever calls is waited for, so all are in the live lane."""

    def __init__(self, requestor: Requestor) -> None:
        self._requestor = requestor

    def subscription(self, subscription_id: str, *, deadline: Deadline) -> Answer[Changing]:
        """As it is now, with its latest invoice and customer. Raises `Refused` where there is none."""
        path = f"/v1/subscriptions/{segment(subscription_id)}"
        call = Call("subscriptions.retrieve", "get", path, EXPANDED, Lane.LIVE, deadline)
        return self._requestor.send(call).answer(changing)

    def update_subscription(
        self, subscription_id: str, params: Mapping[str, object], *, key: str, deadline: Deadline
    ) -> Answer[Changing]:
        """As it is then, with its latest invoice and customer."""
        path = f"/v1/subscriptions/{segment(subscription_id)}"
        call = Call("subscriptions.update", "post", path, {**params, **EXPANDED}, Lane.LIVE, deadline, key)
        return self._requestor.send(call).answer(changing)

    def cancel_subscription(self, subscription_id: str, *, key: str, deadline: Deadline) -> None:
        """Ends it at once. Raises `Refused` (`resource_missing`) where it has ended, or there is none."""
        path = f"/v1/subscriptions/{segment(subscription_id)}"
        self._requestor.send(Call("subscriptions.cancel", "delete", path, {}, Lane.LIVE, deadline, key))

    def attach(self, payment_method_id: str, customer_id: str, *, key: str, deadline: Deadline) -> str:
        """The card is the customer's. Returns its id, which is another one for Stripe's test cards (`pm_card_…`)."""
        path = f"/v1/payment_methods/{segment(payment_method_id)}/attach"
        call = Call("payment_methods.attach", "post", path, {"customer": customer_id}, Lane.LIVE, deadline, key)
        return Fields("payment method", self._requestor.send(call).data).get("id", str)

    def detach(self, payment_method_id: str, *, key: str, deadline: Deadline) -> None:
        """The card is nobody's, for ever. Stripe refuses it for one that is that already."""
        path = f"/v1/payment_methods/{segment(payment_method_id)}/detach"
        self._requestor.send(Call("payment_methods.detach", "post", path, {}, Lane.LIVE, deadline, key))

    def payment_method_customer(self, payment_method_id: str, *, deadline: Deadline) -> str | None:
        """Whose it is now. Raises `Refused` (`resource_missing`) where there is none."""
        path = f"/v1/payment_methods/{segment(payment_method_id)}"
        call = Call("payment_methods.retrieve", "get", path, {}, Lane.LIVE, deadline)
        return Fields("payment method", self._requestor.send(call).data).maybe("customer", str)

    def customer(self, customer_id: str, *, deadline: Deadline) -> Answer[ExpandedCustomer]:
        """As it is now. Raises `CustomerGone` where there never was one."""
        path = f"/v1/customers/{segment(customer_id)}"
        call = Call("customers.retrieve", "get", path, {}, Lane.LIVE, deadline)
        return self._requestor.send(call).answer(expanded_customer)

    def update_customer(
        self, customer_id: str, params: Mapping[str, object], *, key: str, deadline: Deadline
    ) -> Answer[ExpandedCustomer]:
        """As it is then."""
        path = f"/v1/customers/{segment(customer_id)}"
        call = Call("customers.update", "post", path, params, Lane.LIVE, deadline, key)
        return self._requestor.send(call).answer(expanded_customer)

    def delete_customer(self, customer_id: str, *, key: str, deadline: Deadline) -> None:
        """For good: its subscriptions end at once, and its cards are detached. Raises `CustomerGone` where it is
        deleted already, or never was."""
        path = f"/v1/customers/{segment(customer_id)}"
        self._requestor.send(Call("customers.delete", "delete", path, {}, Lane.LIVE, deadline, key))

    def tax_ids(self, customer_id: str, *, deadline: Deadline) -> dict[str, TaxId]:
        """All that a customer has, by Stripe's id (https://docs.stripe.com/api/tax_ids/customer_list)."""
        path = f"/v1/customers/{segment(customer_id)}/tax_ids"
        reply = self._requestor.send(Call("tax_ids.list", "get", path, {"limit": PAGE}, Lane.LIVE, deadline))
        found = Fields("list", reply.data).objects("data")
        return {each.get("id", str): TaxId(each.get("type", str), each.get("value", str)) for each in found}

    def create_tax_id(self, customer_id: str, tax_id: TaxId, *, key: str, deadline: Deadline) -> str:
        """Its id. Raises as the gateway for one that Stripe doesn't take (`tax_id_invalid`)."""
        path = f"/v1/customers/{segment(customer_id)}/tax_ids"
        call = Call("tax_ids.create", "post", path, tax_id._asdict(), Lane.LIVE, deadline, key)
        return Fields("tax id", self._requestor.send(call).data).get("id", str)

    def delete_tax_id(self, customer_id: str, tax_id: str, *, deadline: Deadline) -> None:
        """Raises as the gateway (`resource_missing`) where it is gone, which makes a key needless."""
        path = f"/v1/customers/{segment(customer_id)}/tax_ids/{segment(tax_id)}"
        self._requestor.send(Call("tax_ids.delete", "delete", path, {}, Lane.LIVE, deadline))


def changing(data: object) -> Changing:
    fields = Fields("subscription", data)
    items = fields.object("items").objects("data")
    found = fetched_subscription(data)
    now = Changeable(
        status=found.fact.status,
        item_id=items[0].get("id", str) if len(items) == 1 else None,
        price_id=found.fact.price_id,
        trial_end=fields.maybe("trial_end", int),
        default_payment_method=fields.maybe("default_payment_method", str),
        cancel_at=fields.maybe("cancel_at", int),
        cancel_at_period_end=fields.get("cancel_at_period_end", bool),
        invoice_id=None if found.latest_invoice is None else found.latest_invoice.id,
        invoice_status=None if found.latest_invoice is None else found.latest_invoice.status,
    )
    return Changing(found, now)
