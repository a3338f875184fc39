"""What leased work is to the threads that do it. Whose it is says how it is leased, done and given back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from worker.domain.deadline import Deadline
from worker.domain.doubt import Refusal
from worker.domain.lanes import Lane


class Leased(Protocol):
    """What this process alone may work on, until the deadline."""

    deadline: Deadline

    @property
    def lane(self) -> Lane: ...


LeaseT = TypeVar("LeaseT", bound=Leased)
LeaseT_co = TypeVar("LeaseT_co", bound=Leased, covariant=True)


@dataclass(frozen=True, slots=True)
class Ended:
    """How the work of one lease ended. `outcome`: a metrics' label.

    `passed`: Stripe did for it what others may be refused; `whole`: all of it. `refused`: it may have met everybody.
    """

    outcome: str
    passed: bool = False
    whole: bool = False
    refused: bool = False


class Owner(Protocol[LeaseT]):
    """Whose work it is. Everything may raise `Unavailable` and `TryLater` while Postgres is away."""

    def lease_due(self, wanted: Mapping[Lane, int]) -> list[LeaseT]:
        """Up to so many of each lane, the longest due first."""
        ...

    def run(self, lease: LeaseT) -> Ended:
        """Does the work. Raises `Misconfigured` for what keeps all work from being done, once this is given back."""
        ...

    def give_back(self, lease: LeaseT) -> None:
        """It is due at once, for whoever takes it."""
        ...

    def crashed(self, lease: LeaseT, error: Exception) -> None:
        """Gives back what raised an error that nobody foresaw."""
        ...


class Refusals(Protocol[LeaseT_co]):
    """What was refused while it is in doubt who is at fault (`worker.domain.doubt`), as the database knows it."""

    def refusals(self) -> list[Refusal]:
        """What was refused, and of how many, while nobody passed."""
        ...

    def release_refused(self, began: float, whole: float | None) -> int:
        """Something whose work began at `began` (by the clock) has passed, and wholly what began at `whole`: what was
        refused before that is tried again. Returns how many."""
        ...

    def lease_untried(self, *, newest: bool) -> LeaseT_co | None:
        """One that is due and was not refused, the newest or the oldest."""
        ...

    def lease_refused(self) -> LeaseT_co | None:
        """One that was refused while nobody passed, in turn."""
        ...


class BlamesNobody:
    """`Refusals` of work in which a refusal is only ever its own row's."""

    def refusals(self) -> list[Refusal]:
        return []

    def release_refused(self, began: float, whole: float | None) -> int:  # noqa: ARG002 - as `Refusals` has it
        return 0

    def lease_refused(self) -> None:
        return None
