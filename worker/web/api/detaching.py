"""Taking a payment method away: a row first, then work at Stripe, as any change."""

from __future__ import annotations

import uuid
from functools import partial
from http import HTTPStatus

from worker.domain.account_changes import Kind, Wish
from worker.domain.callers import Access
from worker.web.api.change_views import ChangeView, reply_for_now, reply_of
from worker.web.api.changes import KEY_HEADER, PROBLEMS, TOO_MANY, Desk, read_key
from worker.web.api.operations import Act, Begun, Operation, Parameter, Refused, Reply
from worker.web.api.payment_methods import METHOD_ID, OF_USER
from worker.web.api.subscriptions import many_users

_ID = Parameter("payment_method_id", "path", "Stripe's id", {"type": "string", "pattern": f"^{METHOD_ID.pattern}$"})


class Detaching:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (
            Operation(
                "DELETE", "/billing/payment-methods/{payment_method_id}", "delete_payment_method",
                "Take a payment method away, for good", Access.CHANGE, (_ID, OF_USER, KEY_HEADER), many_users, None,
                may_miss=True, act=self._delete, success=HTTPStatus.NO_CONTENT, later=ChangeView,
                problems={**PROBLEMS, **TOO_MANY},
            ),
        )  # fmt: skip

    def _delete(self, act: Act) -> Reply | Begun:
        key, user_id, named = read_key(act), act.users[0], act.given["payment_method_id"][0]
        if not METHOD_ID.fullmatch(named):
            raise Refused(HTTPStatus.NOT_FOUND, "no_payment_method", "the user has no such payment method")
        about = {"payment_method": named}
        wish = Wish(uuid.uuid4(), Kind.DETACHMENT, user_id, act.caller.name, idempotency_key=key, about=about)
        return self._desk.asked(
            wish, partial(reply_of, pending_plan=""), partial(reply_for_now, user_id=user_id, kind=wish.kind)
        )
