"""A subscription's row, and how it changes by what Stripe says (docs/design.md, *How state never goes back*).

What we know of a subscription was true somewhere in [`seen_from`, `seen_to`] of Stripe's time: for an event's snapshot
both are its `created`; for an answer they are `Date` - elapsed - 1 s and `Date` + 1 s, since its effect lies between
sending and answering.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from worker.domain.invoice import Charge, Charged, merged
from worker.domain.stripe_facts import TERMINAL_STATUSES

Value: TypeAlias = str | bool | int | datetime | None
State: TypeAlias = Mapping[str, Value]
"""The columns that a snapshot of Stripe's gives: `SubscriptionFact.columns`."""

SLACK = timedelta(seconds=2)
"""Whole seconds on both sides: what lies closer can't be put in order."""

WILL_END, ENDED = "trial_will_end", "trial_ended"
"""What is told once of each trial's end, as the cause of a change."""


class Subscription(msgspec.Struct, frozen=True):
    """A row of `billing_subscriptions`. `notices`: of which trials' ends was told, as `cause@time`. `customer_id` is
    Stripe's of its customer, `customer_default` that one's default payment method.

    `version` counts its changes, from 1. It is a user's, or a project's (`user_id` None).
    """

    id: str
    user_id: str | None
    state: State
    seen_from: datetime
    seen_to: datetime
    version: int
    charge: Charge | None = None
    notices: tuple[str, ...] = ()
    last_notified: datetime | None = None
    customer_id: str = ""
    customer_default: str | None = None
    project_id: str | None = None

    @property
    def payable(self) -> bool:
        """Whether Stripe has a default payment method to charge for it
        (https://docs.stripe.com/api/subscriptions/object#subscription_object-default_payment_method)."""
        return bool(self.state.get("default_payment_method") or self.customer_default)

    @property
    def is_terminal(self) -> bool:
        return self.state["stripe_subscription_status"] in TERMINAL_STATUSES

    def columns(self) -> dict[str, Value]:
        """All that a change can change."""
        told = {"last_notified": self.last_notified, "payable": self.payable}
        return {**self.state, **charge_columns(self.charge), **told}


def as_json(content: object) -> str:
    """A row's columns for the outbox, or what came of a change; times in RFC 3339."""
    return msgspec.json.encode(content).decode()


def charge_columns(charge: Charge | None) -> dict[str, Value]:
    """What a row keeps of its charges; `charge_invoice_paid` is NULL for an invoice that was given up."""
    return {
        "failed_charge_attempts": charge.attempts if charge else 0,
        "last_failed_charge": charge.failed_at if charge else None,
        "charge_invoice": charge.invoice_id if charge else None,
        "charge_invoice_created": charge.created if charge else None,
        "charge_invoice_paid": None if charge is None else _PAID[charge.charged],
    }


_PAID = {Charged.FAILING: False, Charged.GIVEN_UP: None, Charged.PAID: True}


class Change(NamedTuple):
    """A row's change, for the outbox. `before` is None for a row that is new."""

    user_id: str | None
    subscription_id: str
    version: int
    before: Mapping[str, Value] | None
    after: Mapping[str, Value]
    cause: str
    project_id: str | None = None


def may_move(before: Value, after: Value) -> bool:
    """Whether a row that goes from one status (None: there was none) to another can move its user to another one."""
    return before != after


class Verdict(StrEnum):
    """What becomes of an event's snapshot."""

    STALE = "stale"
    """The row knows better already."""
    APPLIED = "applied"
    CONFIRMED = "confirmed"
    """The row says the same."""
    REFRESHING = "refreshing"
    """It can't be told which is newer: Stripe is asked."""


def judge(row: Subscription | None, created: datetime, snapshot: State | None) -> Verdict:
    """An event's snapshot against the row. `snapshot` is None where it can't be compared: rendered at another API
    version, incomplete, or of a test clock, whose events are not in the order of `created`."""
    if row is None:
        return Verdict.REFRESHING
    if snapshot is not None and created < row.seen_from - SLACK:
        return Verdict.STALE
    if snapshot is None:
        return Verdict.REFRESHING
    if created > row.seen_to + SLACK:
        return Verdict.APPLIED
    return Verdict.CONFIRMED if snapshot == row.state else Verdict.REFRESHING


def applied(row: Subscription, snapshot: State, created: datetime, cause: str) -> tuple[Subscription, Change | None]:
    """The row as an event's snapshot has it, whose time is known to be later."""
    return _changed(row, replace(row, state=snapshot, seen_from=created, seen_to=created), cause)


def confirmed(row: Subscription, created: datetime) -> Subscription:
    """The row of which an event says that it is right: so was it then, and what is as old as that can't be put in order
    with it."""
    return replace(row, seen_to=max(row.seen_to, created))


def fetched(
    row: Subscription,
    snapshot: State,
    charge: Charge | None,
    seen: tuple[datetime, datetime],
    cause: str,
    *,
    customer_default: str | None,
) -> tuple[Subscription, Change | None]:
    """The row as an answer has it that was asked for after the row was last written, and what is known of its
    customer."""
    seen_from, seen_to = seen
    new = replace(row, state=snapshot, charge=merged(row.charge, charge), seen_from=seen_from, seen_to=seen_to)
    return _changed(row, replace(new, customer_default=customer_default), cause)


def charged(row: Subscription, charge: Charge | None, cause: str) -> tuple[Subscription, Change | None]:
    """The row with what an invoice says, whenever it said so."""
    return _changed(row, replace(row, charge=merged(row.charge, charge)), cause)


def given_default(row: Subscription, payment_method: str | None, cause: str) -> tuple[Subscription, Change | None]:
    """The row whose customer has this default payment method; no change where that charges it neither more nor less."""
    return _changed(row, replace(row, customer_default=payment_method), cause)


def told_of_trial(row: Subscription, trial_end: datetime, created: datetime) -> tuple[Subscription, Change | None]:
    """The row of which was told that its trial will end; nothing changes where that was told before."""
    return _changed(row, _noticed(row, WILL_END, trial_end, created), WILL_END)


def pointed(row: Subscription) -> tuple[Subscription, Change]:
    """The row that has become the one that its user has: no column changes, and yet readers must hear of it."""
    new = replace(row, version=row.version + 1)
    return new, Change(row.user_id, row.id, new.version, row.columns(), row.columns(), "became_current", row.project_id)


def _changed(before: Subscription, after: Subscription, cause: str) -> tuple[Subscription, Change | None]:
    trial_end = after.state["trial_end"]
    if isinstance(trial_end, datetime) and _has_ended(before, after, trial_end):
        noticed = _noticed(after, ENDED, trial_end, trial_end)
        after, cause = noticed, ENDED if noticed is not after else cause
    columns_before, columns_after = before.columns(), after.columns()
    if columns_before == columns_after:
        return after, None
    after = replace(after, version=before.version + 1)
    return after, Change(after.user_id, after.id, after.version, columns_before, columns_after, cause, after.project_id)


def _has_ended(before: Subscription, after: Subscription, trial_end: datetime) -> bool:
    """Whether its trial is over because its time is: one that is canceled before hasn't come to that. By Stripe's own
    word, as on a test clock it may be any time."""
    if not _on_trial(before) or _on_trial(after):
        return False
    ended_at = after.state.get("ended_at")
    return not after.is_terminal or (isinstance(ended_at, datetime) and trial_end <= ended_at + SLACK)


def _noticed(row: Subscription, notice: str, trial_end: datetime, at: datetime) -> Subscription:
    mark = f"{notice}@{trial_end.isoformat()}"
    if mark in row.notices:
        return row
    last = at if row.last_notified is None else max(at, row.last_notified)
    return replace(row, notices=(*row.notices, mark), last_notified=last)


def _on_trial(row: Subscription) -> bool:
    return row.state["stripe_subscription_status"] == "trialing"
