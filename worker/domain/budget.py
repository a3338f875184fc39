"""Stripe's rate among the processes of a deployment: who may send how much, without anybody telling them their number.

Each process keeps a row that says that it lives, what it may send, and what it would like to. It sends less before it
says so, and more only once it has said so and the others leave room for it, those included who have fallen silent:
what they may still send is at most what their rows say.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from worker.domain.shares import due_shares

LEAST_RATE = 1.0
"""Requests per second that a process may always send: a new one before the others have made room for it, one whose row
has expired, and one that has nothing to do, so that its first profile needn't wait to be noticed."""

NEARLY = 1.1
"""Times its share, which moves with everybody's demand, is what a process may have that counts as having made room."""

FADES = 0.7
"""What is left after each turn of a demand that is over: a pause between two batches gives nothing away."""

WAITS = 0.5
"""Threads that wait for the limiter, on average, in a process that is short of requests."""

HEADROOM = 1.5
"""How much more than it used a process that needn't wait may have."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process says of itself, in requests per second: the `rate` it may send at most; the `demand` it has; the
    `total` that all may send, by its settings.

    `lives`: it has renewed its row in time. `counts`: what it sent, or still sends, may reach Stripe.
    """

    rate: float
    demand: float
    total: float
    lives: bool = True
    counts: bool = True


def demand(total: float, sent: float, waited: float, before: float) -> float:
    """Requests per second that a process would like to send: it sent so many (`Limiter.use`), and its threads waited
    `waited` seconds for the limiter in each second. `before`: the same a turn earlier. Whoever has to wait wants
    `total`."""
    return total if waited > WAITS else max(sent * HEADROOM, before * FADES)


def share_out(total: float, demands: Mapping[Key, float]) -> dict[Key, float]:
    """`total` among all: what each wants, as far as there is enough, and `LEAST_RATE` or an equal part in any case;
    what is left over goes to all alike."""
    floor = min(LEAST_RATE, total / len(demands))
    rest = total - floor * len(demands)
    wanted = {key: max(0.0, min(each, total) - floor) for key, each in demands.items()}
    given = due_shares(rest, dict.fromkeys(demands, 1.0), wanted)
    left = max(0.0, rest - sum(given.values())) / len(demands)
    return {key: floor + given[key] + left for key in demands}


def next_rate(own: Claim, others: Sequence[Claim], *, may_grow: bool) -> float:
    """What a process may send from now on. Less applies before it is written, more once it is written.

    Of those whose settings differ, all keep to the least that one of them grants. A new process, which has
    `LEAST_RATE`, takes no more before everybody living has made room for it. `may_grow`: nobody else grows at this
    moment.
    """
    living = [each for each in others if each.lives]
    total = min(each.total for each in [*living, own])
    *shares, share = share_out(total, dict(enumerate(each.demand for each in [*living, own]))).values()
    if share <= own.rate:
        return share
    made_room = all(each.rate <= theirs * NEARLY for each, theirs in zip(living, shares, strict=True))
    if not may_grow or (own.rate <= LEAST_RATE and not made_room):
        return own.rate
    free = total - sum(each.rate for each in others if each.counts)
    return max(own.rate, min(share, free))
