"""Makes the changes that were asked for, as leased work: what comes of each of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

import structlog

from worker.accounts.leases import ChangeLease, ChangeLeases
from worker.accounts.steps import Steps
from worker.domain.account_changes import ChangeRefused
from worker.domain.deadline import OutOfTime
from worker.domain.lanes import Lane
from worker.domain.provisioning import retry_delay
from worker.errors import Misconfigured, Rejected, SubkeeperError, TryLater
from worker.store.engine.errors import LeaseLost
from worker.store.told_changes import ToldChange
from worker.stripe_api.errors import KeyBurnt
from worker.work.owner import BlamesNobody, Ended


class ChangeWorker(BlamesNobody):
    """The owner of this leased work. `ended` hears of each change that has, as it is told; `rng` jitters retries."""

    def __init__(
        self,
        leases: ChangeLeases,
        steps: Steps,
        *,
        ended: Callable[[ToldChange], None],
        rng: random.Random,
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._ended = ended
        self._rng = rng
        self._log = structlog.get_logger(__name__)

    # As the owner of leased work

    def lease_due(self, wanted: Mapping[Lane, int]) -> list[ChangeLease]:
        """Up to so many due changes; all of them are of one lane."""
        count = wanted.get(Lane.LIVE, 0)
        return self._leases.lease_due(count) if count else []

    def run(self, lease: ChangeLease) -> Ended:
        """Takes all the steps that can be taken now."""
        try:
            return self._run(lease)
        except LeaseLost:
            self._log.warning("account_change.lost", change=str(lease.change.id))
            return Ended("lease_lost")

    def give_back(self, lease: ChangeLease) -> None:
        self._leases.postpone(lease, timedelta(), None)

    def crashed(self, lease: ChangeLease, error: Exception) -> None:
        self._log.critical("account_change.crashed", change=str(lease.change.id), exc_info=error)
        with suppress(SubkeeperError):  # the lease runs out by itself
            self._put_off(lease, TryLater(f"crashed: {type(error).__name__}"))

    # What is refused is told to who asked for it, and blames nobody else

    def lease_untried(self, *, newest: bool) -> ChangeLease | None:  # noqa: ARG002 - as `Refusals` has it
        return next(iter(self._leases.lease_due(1)), None)

    # The work

    def _run(self, lease: ChangeLease) -> Ended:
        try:
            self._steps.take(lease)
        except ChangeRefused as refused:
            return self._refused(lease, refused)
        except OutOfTime as late:
            self._leases.postpone(lease, timedelta(seconds=late.after), None)
            return Ended("postponed")
        except (TryLater, Rejected, KeyBurnt) as later:  # a refusal would be told: this is an answer that can't be read
            self._put_off(lease, later)
            return Ended("postponed")
        except Misconfigured:  # the key: nothing can be asked
            self.give_back(lease)
            raise
        change = lease.change
        self._log.info("account_change.applied", change=str(change.id), kind=change.kind, user_id=change.user_id)
        self._tell(lease)
        return Ended("applied", passed=True)

    def _refused(self, lease: ChangeLease, refused: ChangeRefused) -> Ended:
        self._leases.refuse(lease, refused)
        change = lease.change
        self._log.warning(
            "account_change.failed",
            change=str(change.id),
            kind=change.kind,
            user_id=change.user_id,
            reason=refused.code,
            applied=change.held,
        )
        self._tell(lease)
        return Ended("failed", passed=True)

    def _tell(self, lease: ChangeLease) -> None:
        assert lease.told is not None, "it has ended"
        self._ended(lease.told)

    def _put_off(self, lease: ChangeLease, why: SubkeeperError) -> None:
        change = lease.change
        delay = retry_delay(max(change.attempts, 1), self._rng)
        delay = max(delay, why.after) if isinstance(why, TryLater) else delay
        self._leases.postpone(lease, timedelta(seconds=delay), str(why))
        self._log.warning(
            "account_change.postponed", change=str(change.id), user_id=change.user_id, seconds=round(delay, 3),
            reason=str(why),
        )  # fmt: skip
