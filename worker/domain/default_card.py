"""A customer's default payment method (`invoice_settings.default_payment_method`), and how what is known of it
changes.

It is judged by times alone (docs/design.md, *Who could be charged*): what Stripe says was true somewhere in
[`seen_from`, `seen_to`] of its time, be it an event or an answer. So whoever asks needs to know nothing of what is
heard meanwhile: an answer that may be older than that is asked for again a little later.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from worker.domain.subscription import SLACK, Verdict

UNSURE_FOR = timedelta(seconds=4)
"""After so long an answer is later than an event that was heard just now: `SLACK`, a second for whole seconds, and one
for what `Date` may be behind."""


class DefaultCard(NamedTuple):
    """What is known. `seen_from` is None while that is in doubt, `payment_method` being what it was before; `seen_to`
    is None where nothing was ever heard."""

    payment_method: str | None
    seen_from: datetime | None
    seen_to: datetime | None


NOTHING = DefaultCard(None, None, None)
"""Of a customer that was made elsewhere, or by a release that kept none."""


def heard(known: DefaultCard, said: str | None, created: datetime) -> tuple[Verdict, DefaultCard]:
    """With what an event says: of `created`, and no other."""
    verdict = _judge(known, said, created, created)
    if verdict is Verdict.APPLIED:
        return verdict, DefaultCard(said, created, created)
    if verdict is Verdict.CONFIRMED:
        return verdict, _confirmed(known, created)
    if verdict is Verdict.REFRESHING:
        return verdict, doubted(known, created)
    return verdict, known


def doubted(known: DefaultCard, at: datetime) -> DefaultCard:
    """Something was heard that can't be compared: only what is later than that is sure."""
    return known._replace(seen_from=None, seen_to=at if known.seen_to is None else max(at, known.seen_to))


def answered(known: DefaultCard, said: str | None, seen: tuple[datetime, datetime]) -> tuple[Verdict, DefaultCard]:
    """With an answer that was true somewhere in `seen`. `REFRESHING`: it is to be asked for again."""
    if known.seen_to is None:
        return Verdict.APPLIED, DefaultCard(said, *seen)
    verdict = _judge(known, said, *seen)
    if verdict is Verdict.APPLIED:
        return verdict, DefaultCard(said, *seen)
    return verdict, _confirmed(known, seen[1]) if verdict is Verdict.CONFIRMED else known


def wait_for(known: DefaultCard, seen_from: datetime) -> timedelta:
    """After how long an answer is sure, where one of `seen_from` isn't."""
    assert known.seen_to is not None, "an answer is in doubt beside something"
    return max(timedelta(), known.seen_to + SLACK - seen_from) + timedelta(seconds=1)


def _judge(known: DefaultCard, said: str | None, seen_from: datetime, seen_to: datetime) -> Verdict:
    if known.seen_from is not None and seen_to < known.seen_from - SLACK:
        return Verdict.STALE
    if known.seen_to is not None and seen_from > known.seen_to + SLACK:
        return Verdict.APPLIED
    if known.seen_from is not None and said == known.payment_method:
        return Verdict.CONFIRMED
    return Verdict.REFRESHING


def _confirmed(known: DefaultCard, at: datetime) -> DefaultCard:
    return known if known.seen_to is None else known._replace(seen_to=max(known.seen_to, at))
