"""Which payment methods a customer has, and how that changes by what Stripe says.

A detached one can never be attached again (https://docs.stripe.com/api/payment_methods/detach): it is kept as that
for ever, so that the events of its life may come in any order. A list tells what was missed, as far as it is later than
what is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from worker.domain.subscription import SLACK


class Kept(NamedTuple):
    """A row of `payment_methods`: at Stripe it was attached, or detached, at `as_of`."""

    id: str
    is_attached: bool
    as_of: datetime


class Missed(NamedTuple):
    """What a list tells that wasn't known: Stripe's ids, in the order in which they are to be taken in."""

    attached: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()


def missed(kept: Sequence[Kept], listed: Sequence[str], seen_from: datetime) -> Missed:
    """By a list that was so at `seen_from` or later, newest first. What was heard since, or so shortly before that it
    can't be put in order, isn't touched."""
    older = {each.id for each in kept if each.as_of + SLACK < seen_from}
    known = {each.id for each in kept if each.is_attached or each.id not in older}
    attached = [each for each in reversed(listed) if each not in known]
    gone = [each.id for each in kept if each.is_attached and each.id in older and each.id not in listed]
    return Missed(tuple(attached), tuple(gone))


def is_an_order_of(ids: Sequence[str], present: Sequence[str]) -> bool:
    """Whether each that is present is there exactly once, and nothing else."""
    return sorted(ids) == sorted(present)
