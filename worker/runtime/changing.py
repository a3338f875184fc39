"""`subkeeper subscriptions`, put together: by the same rows and the same work as the API's."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.accounts.asking import Asking
from worker.accounts.leases import ChangeLeases
from worker.accounts.waiting import Waiting
from worker.accounts.working import ChangeWorker
from worker.domain.account_changes import ChangeRefused, Kind, Wish, told_of
from worker.domain.accounts import (
    UNSET,
    SubscriptionChange,
    is_acceptable_plan,
    validate_change_request,
)
from worker.domain.callers import ADMIN, Caller
from worker.domain.subscription import Value
from worker.runtime.account import open_account
from worker.runtime.accounts import asking, leases, steps
from worker.runtime.operations import open_database
from worker.runtime.sealing_keys import SealingKeys
from worker.settings.model import Settings
from worker.store import subscriptions
from worker.store.told_changes import ToldChange
from worker.telemetry import Health

COMMAND_LINE = Caller(None, frozenset({ADMIN.id}), "command line")
"""Whoever has the settings may what an admin may."""

PATIENCE, PAUSE = 60.0, 0.5
"""Seconds that a command works on a change; and between two looks at one that waits."""


def current(settings: Settings, user_id: str) -> dict[str, Value]:
    """The user's subscription as our tables have it. Raises `ChangeRefused` where there is none."""
    with open_database(settings, "subscriptions") as database, database.question() as tx:
        found = subscriptions.current(tx, [user_id])
    if not found:
        raise ChangeRefused("no_subscription", "the user has none (yet)")
    return told_of(found[0])


def refusals(settings: Settings, change: SubscriptionChange) -> list[tuple[str, str]]:
    """For what a request with this change would be refused: the change's fields, and what is wrong with each."""
    found = [(each.pointer.removeprefix("/"), each.detail) for each in validate_change_request(change)]
    if change.plan is not UNSET and not is_acceptable_plan(change.plan, COMMAND_LINE, settings.plans):
        found.append(("plan", f"there is none of that name in [plans]; there are: {', '.join(sorted(settings.plans))}"))
    return found


@dataclass(frozen=True, slots=True)
class Changing:
    """Changes of users, made here and now."""

    asking: Asking
    leases: ChangeLeases
    worker: ChangeWorker

    def make(self, kind: Kind, user_id: str, change: SubscriptionChange) -> ToldChange:
        """What came of it; pending where that takes longer than `PATIENCE`: the web process goes on with it. Changes
        of the user's that were asked for before are made first. Raises `ChangeRefused`, and what Stripe's refusing the
        key raises."""
        wish = Wish(uuid.uuid4(), kind, user_id, COMMAND_LINE.name, change)
        _, leased = self.asking.insert(wish, leased=True)
        until = time.monotonic() + PATIENCE
        while True:
            for lease in [leased] if leased is not None else self.leases.lease_due(1, user_id):
                self.worker.run(lease)
            leased = None
            told = self.asking.find(wish.id)
            if told is None:  # it went with all else
                raise ChangeRefused("erased", "the user has been erased since")
            if told.has_ended or time.monotonic() > until:
                return told
            time.sleep(PAUSE)


@contextmanager
def open_changing(settings: Settings, rng: random.Random) -> Iterator[Changing]:
    """Raises as `open_account`, and `Misconfigured` without keys to seal with."""
    keys = SealingKeys(settings, Health())
    with open_account(settings, "subscriptions", rng) as account:
        held = leases(settings, account.database, account.catalogue, keys.openable)
        taken = steps(settings, account.database, held, account.gateway, account.catalogue, keys.sealer)
        yield Changing(
            asking(settings, account.database, keys.sealer, lambda: datetime.now(UTC)),
            held,
            ChangeWorker(held, taken, ended=Waiting().ended, rng=rng),
        )
