"""When a payment that failed is tried again, and what follows when all attempts failed.

Stripe's Smart Retries choose their times by a model of their own, so nobody can rely on them. Here they are fixed, at
those of the Dashboard's own schedule: three more attempts, 3, 5 and 7 days after the one before, then the subscription
is canceled. Source: https://docs.stripe.com/billing/revenue-recovery/smart-retries.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.stripe.agenda import DAY

CHOICES = ("cancel", "past_due", "unpaid")


@dataclass(frozen=True, slots=True)
class Retries:
    """`days` from each failed attempt to the next; `then`: what a subscription becomes, one of `CHOICES`."""

    days: tuple[int, ...] = (3, 5, 7)
    then: str = "cancel"

    def __post_init__(self) -> None:
        if self.then not in CHOICES or not all(0 < day <= 365 for day in self.days):
            raise ValueError(f"then must be one of {', '.join(CHOICES)}, days from 1 to 365")

    def after(self, attempts: int, now: int) -> int | None:
        """The time of the next attempt, once so many were made; None after the last."""
        return now + self.days[attempts - 1] * DAY if attempts <= len(self.days) else None
