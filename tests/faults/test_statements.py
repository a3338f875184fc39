"""`pg_terminate_backend` before and after every statement and every commit of a worker, whatever it was about."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults.launcher import Fault, Launcher
from tests.faults.points import POINTS
from tests.faults.scenarios import CUSTOMERS, RUN, SUBSCRIPTIONS, completed, customer_made_elsewhere, refuse
from tests.faults.tally import EXACT, await_states, tally
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until

EACH = 5
"""Users of each kind: enough for two strikes at each statement, and for one user to get through."""

ELSEWHERE = (
    "setup", "publishing", "restored", "counting", "Quarantine", "Budget._leave", "Replay", "Verifier",
    "CardComparison", "ReadMeter",
)  # fmt: skip
"""Whose commits are made by commands, or by a worker that ends, not by one that works."""

OTHER_JOBS = (
    "EventInbox", "ChargeLeases", "Refresher", "Vanished", "Leadership", "Relay", "Pruner", "Asking", "ChangeLeases",
    "AccountWork", "ApiStripe", "Cards", "PageRows", "Sharing", "ErasureRows",
)  # fmt: skip
"""Whose are other processes'; their kills are in `scenarios`."""


def publish_all_kinds(stack: Stack) -> Mapping[str, str]:
    """Users who go every way there is through the ledger, but refused ones."""
    burnt = [(CUSTOMERS, name) for name in users(EACH, "customer-burnt")]
    burnt += [(SUBSCRIPTIONS, name) for name in users(EACH, "subscription-burnt")]
    for path, name in burnt:
        refuse(stack, path, match={"path": path, "method": "POST", "user_id": name}, status=500)
    plain, old = users(EACH, "plain"), users(EACH, "old")
    stack.publish(*[profile(name) for name in [*plain, *(name for _, name in burnt)]], b"poison")
    for name in old:
        customer_made_elsewhere(stack, name)
    gone = users(EACH, "gone")
    for name in gone:
        stack.rows(
            "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES (%s, %s)", name, f"cus_of_{name}"
        )
    stack.publish(*[profile(name) for name in gone])
    unlike = [profile(name, created_at=None, email=f"another-{name}@example.org") for name in old]
    stack.publish(*unlike, topic=stack.backfill_topic)
    return completed(*plain, *old, *(name for _, name in burnt)) | dict.fromkeys(gone, "quarantined")


def publish_refused(stack: Stack) -> Mapping[str, str]:
    """Users whom Stripe refuses for good."""
    refused = users(EACH, "refused")
    for name in refused:
        match = {"path": CUSTOMERS, "method": "POST", "user_id": name}
        refuse(stack, CUSTOMERS, match=match, times=None, status=402, sticky=False)
    stack.publish(*[profile(name) for name in refused])
    return dict.fromkeys(refused, "quarantined")


def test_a_backend_that_is_terminated_at_any_statement_costs_nothing(launcher: Launcher, new_stack: NewStack) -> None:
    """Two strikes at each statement: one before its first time, one after its second."""
    stack = new_stack(SUBKEEPER_STRIPE__REQUEST_TIMEOUT="0.5", SUBKEEPER_SETTLE__LEASE="5.5")
    stack.setup()
    stack.forget_claim()
    expected = dict(publish_refused(stack))
    # Long enough to renew a lease in the middle of a look; two within one lease would end it.
    sleeps = [Fault("suspend", "stripe:customers.list", nth=nth, seconds=3.0) for nth in range(1, 100, 10)]
    worker = launcher.start(stack.environ, RUN, Fault("terminate"), *sleeps)
    wait_until(lambda: any("Leases.lease_refused" in line for line in worker.passed()), what="in doubt about them")
    expected |= publish_all_kinds(stack)
    await_states(stack, expected, 60, refused=1)
    assert worker.await_end(0) is None, worker.text
    struck = set(worker.passed(terminated=True))
    print(f"{len(struck)} strikes")  # noqa: T201 - pytest -s shows it
    commits = {point.removeprefix("commit:") for point in POINTS if point.startswith("commit:")}
    own = {name for name in commits if not name.startswith((*ELSEWHERE, *OTHER_JOBS))}
    assert own <= {line.split()[1] for line in struck if line.startswith("before") and line.endswith("COMMIT")}
    assert tally(stack, expected) == EXACT
