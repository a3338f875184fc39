"""Changing what is on a user's bills. It is at Stripe alone: here it is sealed until it is Stripe's."""

from __future__ import annotations

import uuid
from functools import partial
from http import HTTPStatus
from typing import Any

from worker.domain.account_changes import Kind, Wish
from worker.domain.callers import Access
from worker.domain.customer_details import (
    COUNTRY,
    MAX_NAME,
    MAX_TEXT,
    MOST_TAX_IDS,
    PARTS,
    TAX_ID_TYPE,
    TAX_ID_VALUE,
    read_details,
)
from worker.web.api.change_views import ChangeView, reply_for_now, reply_of
from worker.web.api.changes import KEY_HEADER, OF_A_BODY, PROBLEMS, TOO_MANY, Desk, json_object, read_key
from worker.web.api.operations import Act, Begun, Operation, Refused, Reply, refuse
from worker.web.api.subscriptions import USER, one_user

_TEXT = {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_TEXT, "pattern": "^[^\\u0000]*$"}
_ADDRESS: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "As a whole: what is left out is empty",
    "properties": {**dict.fromkeys(PARTS, _TEXT), "country": {**_TEXT, "pattern": f"^{COUNTRY.pattern}$"}},
    "additionalProperties": False,
}
_TAX_ID: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "Stripe's (eu_vat)", "pattern": f"^{TAX_ID_TYPE.pattern}$"},
        "value": {"type": "string", "pattern": f"^{TAX_ID_VALUE.pattern}$"},
    },
    "required": ["type", "value"],
    "additionalProperties": False,
}
_BODY = json_object({
    "name": {**_TEXT, "maxLength": MAX_NAME},
    "address": _ADDRESS,
    "tax_ids": {"type": "array", "description": "All of them", "items": _TAX_ID, "maxItems": MOST_TAX_IDS},
})  # fmt: skip


class Customers:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (
            Operation(
                "PATCH", "/billing/customers/{user_id}", "change_customer", "Change what is on a user's bills",
                Access.CHANGE, (USER, KEY_HEADER), one_user, None, act=self._change, body=_BODY, later=ChangeView,
                success=HTTPStatus.NO_CONTENT, problems={**OF_A_BODY, **PROBLEMS, **TOO_MANY},
            ),
        )  # fmt: skip

    def _change(self, act: Act) -> Reply | Begun:
        details, errors = read_details(act.document)
        if details.is_empty and not errors:
            raise Refused(HTTPStatus.BAD_REQUEST, "empty_change", "nothing is asked for")
        refuse([each._replace(pointer=f"/body{each.pointer}") for each in errors])
        wish = Wish(
            uuid.uuid4(),
            Kind.DETAILS,
            act.users[0],
            act.caller.name,
            idempotency_key=read_key(act),
            details=details,
        )
        return self._desk.asked(
            wish, partial(reply_of, pending_plan=""), partial(reply_for_now, user_id=wish.user_id, kind=wish.kind)
        )
