"""`subkeeper verify`, put together."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from worker.domain.drift import Finding
from worker.errors import SubkeeperError
from worker.events.comparing import Comparison
from worker.events.comparing_cards import CardComparison
from worker.events.patience import Patience
from worker.events.verifying import Verifier, Watch
from worker.events.walk import Walk
from worker.runtime.account import Account, open_account
from worker.settings.model import Settings
from worker.store import drift
from worker.stripe_api.subscription_list import PAGE


@dataclass(frozen=True, slots=True)
class Cost:
    """What a walk is about to cost. `rows`: of ours, of which `compared` were before; `reads`: of Stripe, and one more
    for each that is in doubt."""

    rows: int
    reads: int
    compared: int = 0


def comparison(settings: Settings, account: Account, patiently: Patience) -> Comparison:
    return Comparison(
        account.database,
        account.gateway,
        namespace=settings.namespace,
        plan_of=account.catalogue.plan_of,
        patiently=patiently,
    )


def verify(
    settings: Settings,
    users: Sequence[str],
    walk: Walk,
    watch: Watch,
    rng: random.Random,
    *,
    repair: bool,
    say_cost: Callable[[Cost], None],
) -> Generator[Finding, None, None]:
    """Each difference as it is found (of these users; none: of everybody, from where `walk` is). The caller tells the
    walk what it has told.

    Raises `SubkeeperError` where nobody knows one of these users.
    """
    with open_account(settings, "verify", rng) as account:
        cost = _cost(account, users, walk)
        say_cost(cost)
        account.meter.foresee(cost.reads)
        patiently = Patience(account.meter)
        verifier = Verifier(
            account.database,
            account.gateway,
            comparison(settings, account, patiently),
            CardComparison(account.database, account.gateway, patiently, repairs=repair),
            account.refresher(settings, rng) if repair else None,
            watch,
            patiently,
            timedelta(seconds=settings.settle.lease),
        )
        yield from verifier.of(users, walk) if users else verifier.everything(walk)
    walk.finish()


def _cost(account: Account, users: Sequence[str], walk: Walk) -> Cost:
    with account.database.transaction() as tx:
        if not users:
            rows, compared = drift.subscription_count(tx), walk.walked.subscriptions
            pages = 0 if walk.place.asked or walk.place.customers else max(1, math.ceil((rows - compared) / PAGE))
            return Cost(rows, pages + drift.with_cards_count(tx, walk.place.customers), compared)
        if unknown := sorted(set(users) - drift.known_users(tx, users)):
            raise SubkeeperError(f"no user {unknown[0]!r} in our tables")
        return Cost(len(users), 2 * len(drift.customers_of(tx, users)))
