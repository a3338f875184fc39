"""What is read at Stripe only to be shown: a customer's cards and details. It is personal, and none of it is kept."""

from __future__ import annotations

from urllib.parse import quote

from worker.domain.billing import ShownAddress, ShownCustomer, ShownMethod, ShownTaxId
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer
from worker.stripe_api.errors import AnswerIncomplete
from worker.stripe_api.parsing import Fields
from worker.stripe_api.requestor import Call, Requestor

PAGE = 100
"""Payment methods a page: the most that Stripe gives."""


class Showing:
    """Asks with `requestor`; errors as the gateway's."""

    def __init__(self, requestor: Requestor) -> None:
        self._requestor = requestor

    def payment_methods(self, customer_id: str, *, lane: Lane, deadline: Deadline) -> Answer[list[ShownMethod]]:
        """All that are attached to a customer, newest first (https://docs.stripe.com/api/payment_methods/list). Raises
        `CustomerGone`."""
        found: list[ShownMethod] = []
        params: dict[str, object] = {"customer": customer_id, "limit": PAGE}
        seen_from = None
        while True:
            call = Call("payment_methods.list", "get", "/v1/payment_methods", dict(params), lane, deadline)
            reply = self._requestor.send(call)
            seen_from = seen_from or reply.seen_from
            fields = Fields("list", reply.data)
            found += [_method(each) for each in fields.get("data", list)]
            if not fields.get("has_more", bool):
                return Answer(found, seen_from, reply.seen_to, replayed=False, request_id=reply.request_id)
            if not found or params.get("starting_after") == found[-1].id:
                raise AnswerIncomplete("list has more, but its page is empty")
            params["starting_after"] = found[-1].id

    def customer(self, customer_id: str, *, lane: Lane, deadline: Deadline) -> ShownCustomer | None:
        """Name, address and tax ids; None once it is deleted. Raises `CustomerGone` where it never was."""
        path, expand = f"/v1/customers/{quote(customer_id, safe='')}", {"expand": ["tax_ids"]}
        fields = Fields(
            "customer",
            self._requestor.send(Call("customers.retrieve", "get", path, expand, lane, deadline)).data,
        )
        if fields.flag("deleted"):
            return None
        address = fields.maybe("address", dict)
        return ShownCustomer(
            fields.get("id", str),
            fields.maybe("name", str),
            None if address is None else _address(Fields("address", address)),
            [_tax_id(each) for each in fields.object("tax_ids").objects("data")],
        )


def _method(data: object) -> ShownMethod:
    fields = Fields("payment method", data)
    identifier, kind = fields.get("id", str), fields.get("type", str)
    if kind != "card":
        return ShownMethod(identifier, kind)
    card = fields.object("card")
    month, year = card.get("exp_month", int), card.get("exp_year", int)
    return ShownMethod(identifier, kind, card.get("brand", str), card.get("last4", str), month, year)


def _tax_id(fields: Fields) -> ShownTaxId:
    return ShownTaxId(fields.get("type", str), fields.get("value", str))


def _address(fields: Fields) -> ShownAddress:
    city, country, line1, line2, code, state = (
        fields.maybe(name, str) for name in ("city", "country", "line1", "line2", "postal_code", "state")
    )
    return ShownAddress(city, country, line1, line2, code, state)
