"""What takes two of the parts: whose database it is, and whether the clocks agree."""

from __future__ import annotations

from datetime import timedelta

from worker.errors import Misconfigured
from worker.runtime.doctor.findings import Finding, Findings, ok, problem, refused, skipped, warning
from worker.runtime.doctor.postgres import PostgresCheck
from worker.runtime.doctor.stripe import StripeCheck
from worker.settings import Settings
from worker.store import deployment

DEPLOYMENT, CLOCKS = "deployment", "clocks"

CLOSE, LOUD = timedelta(seconds=2), timedelta(minutes=1)
"""Stripe tells whole seconds, and an answer takes a while. From a minute on, trials and the age of keys are wrong."""


def check_together(settings: Settings, postgres: PostgresCheck, stripe: StripeCheck) -> Findings:
    yield _deployment(settings, postgres, stripe)
    yield from check_clocks(postgres.ahead, stripe.ahead)


def _deployment(settings: Settings, postgres: PostgresCheck, stripe: StripeCheck) -> Finding:
    if not postgres.owner_known:
        return skipped(DEPLOYMENT, "the database doesn't tell whose it is")
    owner = postgres.owner
    if owner is None:
        return warning(DEPLOYMENT, "this database is nobody's yet", "Run `subkeeper setup`")
    ours: dict[str, object] = {"livemode": settings.stripe.livemode, "namespace": settings.namespace}
    if stripe.account is not None:
        ours["stripe_account_id"] = stripe.account.id
    try:
        deployment.compare(owner, ours)
    except Misconfigured as another:
        return refused(DEPLOYMENT, another, "")
    said = f"this database belongs to account {owner['stripe_account_id']} and namespace {owner['namespace']}"
    return ok(DEPLOYMENT, said if stripe.account else f"{said}; the key's account is not known")


def check_clocks(postgres: timedelta | None, stripe: timedelta | None) -> Findings:
    """How far they are ahead of this machine's; None: not known."""
    for whose, ahead in (("Postgres's", postgres), ("Stripe's", stripe)):
        if ahead is None:
            yield skipped(CLOCKS, f"{whose} is not known")
            continue
        seconds = round(ahead.total_seconds(), 1)
        said = f"{whose} is {abs(seconds):g} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
        fix = "Look at NTP on both machines: chronyc tracking, or timedatectl"
        if abs(ahead) < CLOSE:
            yield ok(CLOCKS, f"{whose} and this machine's agree")
        else:
            yield problem(CLOCKS, said, fix) if abs(ahead) > LOUD else warning(CLOCKS, said, fix)
