"""`expand[]`: ids replaced by their objects (https://docs.stripe.com/api/expanding_objects)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.stripe.errors import ApiError, invalid
from sandbox.stripe.ledger import Ledger
from sandbox.stripe.objects import Obj, listing
from sandbox.stripe.shapes import rendered

_MAX_LEVELS = 4


class Expander:
    """Expands answers; `fresh` holds the objects of the transaction at hand, which the ledger does not have yet.

    Each object that comes in is in the shape of API version `version`.
    """

    def __init__(self, ledger: Ledger, fresh: Mapping[str, Obj], version: str) -> None:
        self._ledger = ledger
        self._fresh = fresh
        self._version = version

    def expand(self, obj: Obj, paths: Sequence[str]) -> Obj:
        """A copy of `obj` in which each of `paths` (`data.customer`, `latest_invoice`, …) is expanded."""
        for path in paths:
            segments = path.split(".")
            if len(segments) - (segments[0] == "data") > _MAX_LEVELS:
                raise invalid(f"You cannot expand more than 4 levels of a property ({path}).", param="expand")
            obj = self._expand(obj, segments, path)
        return obj

    def _expand(self, node: Any, segments: Sequence[str], path: str) -> Any:
        if isinstance(node, list):
            return [self._expand(item, segments, path) for item in node]
        if not segments or not isinstance(node, dict) or node.get("deleted"):
            return node
        name, rest = segments[0], segments[1:]
        child = self._child(node, name, path)
        if not rest and not isinstance(child, dict | list | None):
            raise _not_expandable(path)
        return {**node, name: self._expand(child, rest, path)}

    def _child(self, node: Obj, name: str, path: str) -> Any:
        if (node.get("object"), name) == ("customer", "subscriptions"):
            return self._subscriptions(node["id"])
        if (node.get("object"), name) == ("customer", "tax_ids"):
            return self._tax_ids(node["id"])
        if (node.get("object"), name) == ("invoice", "payments"):
            return self._payments(node["id"])
        if (node.get("object"), name) == ("checkout.session", "line_items"):
            return self._line_items(node["id"])
        if name not in node:
            raise _not_expandable(path)
        child = node[name]
        if not isinstance(child, str):
            return child
        found = self._fresh.get(child) or self._ledger.find(child)
        return rendered(found, self._version, self._ledger.find) if found else child

    def _subscriptions(self, customer: str) -> Obj:
        """A customer's subscriptions that are not canceled, newest first; part of a customer only when expanded."""
        subs = self._ledger.tables["subscription"].by("customer", customer)
        data = [sub for sub in reversed(subs) if sub["status"] != "canceled"]
        data = rendered(data, self._version, self._ledger.find)
        return listing(f"/v1/customers/{customer}/subscriptions", data[:10], has_more=len(data) > 10)

    def _line_items(self, session: str) -> Obj:
        found = self._fresh.get(session) or self._ledger.tables["checkout.session"].rows[session]
        data = rendered(found["_order"]["items"], self._version, self._ledger.find)
        return listing(f"/v1/checkout/sessions/{session}/line_items", data, has_more=False)

    def _tax_ids(self, customer: str) -> Obj:
        """A customer's tax ids, newest first; part of a customer only when expanded."""
        data = self._ledger.tables["tax_id"].by("customer", customer)[::-1]
        return listing(f"/v1/customers/{customer}/tax_ids", data[:10], has_more=len(data) > 10)

    def _payments(self, bill: str) -> Obj:
        """An invoice's payments, newest first; part of it only when expanded."""
        known = {row["id"]: row for row in self._ledger.tables["invoice_payment"].by("invoice", bill)}
        for obj in self._fresh.values():
            if obj["object"] == "invoice_payment" and obj["invoice"] == bill:
                known[obj["id"]] = obj
        return listing("/v1/invoice_payments", list(known.values())[::-1], has_more=False)


def _not_expandable(path: str) -> ApiError:
    return invalid(f"This property cannot be expanded ({path}).", param="expand")
