"""What a worker (or a command) may be in the middle of when it dies, and at which points it is killed there.

Each scenario arranges a deployment and publishes; says what every user is to end in; and names its kills. Together they
name every point of `points` (`test_points` holds them to it).
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path

import psycopg

from sandbox.ports import answers, free_port
from tests.faults import account_scenarios as accounts
from tests.faults import charge_scenarios as charging
from tests.faults import erasure_scenarios as erasures
from tests.faults import page_scenarios as pages
from tests.faults.launcher import Fault, Launched
from tests.faults.tally import SOMEBODY_ELSE
from tests.integration.web.callers import ask
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token
from worker.broker.reader import Reader
from worker.domain.event import TYPES
from worker.domain.provisioning import user_digest
from worker.events.reading import pruned
from worker.runtime.counting import count, recount
from worker.runtime.setup import setup
from worker.runtime.webhook_setup import WebhookSetup, entry_name
from worker.sealing import Sealer
from worker.store import counts, quarantine
from worker.store.engine.database import Database

RUN, RUN_EVENTS, RUN_ALL, RUN_WEB = ("run", "profiles"), ("run", "events"), ("run", "all"), ("run", "web")
LISTENER = "listener"
ADMIN = new_token()
WEBHOOK_SECRET = "whsec_of_an_endpoint_that_may_be_killed"
WEBHOOK = ("setup", "--webhook", "http://127.0.0.1:1/stripe/webhook")
CUSTOMERS, SUBSCRIPTIONS = "/v1/customers", "/v1/subscriptions"


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL before and after the `nth` passing of `point`."""

    point: str
    nth: int = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """`arrange` publishes, and returns the state that each user is to end in. `command` is what is killed; `during`
    acts beside it; `also` are further faults of the killed process. A worker then finishes what is left."""

    arrange: Callable[[Stack], Mapping[str, str]]
    kills: tuple[Kill, ...]
    command: Callable[[Stack], tuple[str, ...]] = lambda _: RUN
    during: Callable[[Stack, Launched], None] = lambda _stack, _launched: None
    environ: Mapping[str, str] = field(default_factory=dict)
    also: tuple[Fault, ...] = ()
    afterwards: Callable[[Stack], Mapping[str, str]] = lambda _: {}
    """Publishes more beside the worker that finishes what is left, and returns what those users are to end in."""

    is_done: Callable[[Stack], bool] | None = None
    """What is to come true beside the states of the users."""

    is_set_up: bool = True
    refused: int = 0
    """Messages that are to end in quarantine."""


def completed(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "completed")


def configured(stack: Stack, environ: Mapping[str, str]) -> Stack:
    """The same deployment, its commands and workers with these settings too."""
    stack.environ |= environ
    return stack


def body(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode()


def refuse(stack: Stack, path: str, **details: object) -> None:
    """Stripe answers a POST with a status, once unless `times` says otherwise."""
    stack.control.fault("status", **{"match": {"path": path, "method": "POST"}, "times": 1, **details})  # type: ignore[arg-type]  # JSON


def run_until(stack: Stack, condition: Callable[[], object]) -> None:
    """A worker works until then, and drains."""
    worker = stack.start_worker()
    wait_until(condition)
    worker.stop()


# Arrangements


def _start(stack: Stack) -> Mapping[str, str]:
    stack.forget_claim()
    _quarantine_message(stack, b"expired long ago", timedelta(days=-1))
    stack.publish(profile("user-0"))
    return completed("user-0")


def _on_a_test_clock(stack: Stack) -> Mapping[str, str]:
    clock = stack.call_stripe("POST", "/v1/test_helpers/test_clocks", frozen_time=str(int(time.time())))
    configured(stack, {"SUBKEEPER_STRIPE__TEST_CLOCK": clock["id"]})
    stack.publish(profile("user-0"))
    return completed("user-0")


def _first_delivery(stack: Stack) -> Mapping[str, str]:
    """One of them is delivered twice, and there is a message that nobody can read."""
    names = users(3)
    stack.publish(*[profile(name) for name in names], profile(names[0]), b"poison")
    return completed(*names)


def _backfill(stack: Stack) -> Mapping[str, str]:
    names = users(3)
    stack.publish(*[profile(name, created_at=None) for name in names], topic=stack.backfill_topic)
    return completed(*names)


def _retry(path: str) -> Callable[[Stack], Mapping[str, str]]:
    """Stripe does what it is asked, and answers that it is away."""
    return _failing_once(path, status=503, when="after")


def _look(stack: Stack) -> Mapping[str, str]:
    """Both objects are there already, as after the loss of the database, under more customers than a page holds, and so
    old that Search is asked before the walk goes down to them."""
    customer = customer_made_elsewhere(stack, "user-0")
    for number in range(100):
        digest = user_digest("subkeeper", f"other-{number}")
        stack.call_stripe("POST", CUSTOMERS, name=SOMEBODY_ELSE, **{"metadata[subkeeper]": digest})
    stack.control.jump(timedelta(hours=2).total_seconds())
    stack.call_stripe(
        "POST", SUBSCRIPTIONS, customer=customer, trial_period_days="7", **{"items[0][price]": stack.price()["id"]}
    )
    stack.publish(profile("user-0", created_at=None, email="another@example.org"))
    return completed("user-0")


def _reuse(stack: Stack) -> Mapping[str, str]:
    customer = customer_made_elsewhere(stack, "user-0")
    stack.rows("INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('user-0', %s)", customer)
    stack.publish(profile("user-0"))
    return completed("user-0")


def customer_made_elsewhere(stack: Stack, user_id: str) -> str:
    whose = {"metadata[subkeeper]": user_digest("subkeeper", user_id), "metadata[user_id]": user_id}
    return str(stack.call_stripe("POST", CUSTOMERS, email=f"{user_id}@example.org", **whose)["id"])


def _burnt(path: str, when: str) -> Callable[[Stack], Mapping[str, str]]:
    """Stripe keeps a 500 under the key, whether it did what was asked or not."""
    return _failing_once(path, status=500, when=when)


def _failing_once(path: str, **details: object) -> Callable[[Stack], Mapping[str, str]]:
    def arrange(stack: Stack) -> Mapping[str, str]:
        refuse(stack, path, **details)
        stack.publish(profile("user-0"))
        return completed("user-0")

    return arrange


def _field_refused(stack: Stack) -> Mapping[str, str]:
    stack.publish(profile("user-0", email="no email at all"))
    return completed("user-0")


def _refused_for_good(stack: Stack) -> Mapping[str, str]:
    match = {"path": CUSTOMERS, "method": "POST", "user_id": "user-0"}
    refuse(stack, CUSTOMERS, match=match, times=None, status=402, sticky=False)
    stack.publish(profile("user-0"))
    return {"user-0": "quarantined", "user-1": "completed"}


def _was_refused(stack: Stack) -> bool:
    row = stack.ledger("user-0")
    return bool(row) and (row["refusal"] is not None or row["state"] == "quarantined")


def _one_more(stack: Stack) -> Mapping[str, str]:
    """Somebody passes after user-0 was refused: if the killed worker knew of such a one, it told nobody."""
    wait_until(lambda: _was_refused(stack))
    stack.publish(profile("user-2"))
    return completed("user-2")


def _everybody_refused(stack: Stack) -> Mapping[str, str]:
    """Stripe refuses whoever asks, for long enough to be in doubt about it, and then takes everybody."""
    refuse(stack, CUSTOMERS, times=20, status=400, sticky=False)
    stack.publish(*[profile(name) for name in users(4)])
    return completed(*users(4), "user-untried")


def _customer_gone(stack: Stack) -> Mapping[str, str]:
    refuse(stack, SUBSCRIPTIONS, status=503)
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.requests("POST", SUBSCRIPTIONS))
    stack.call_stripe("DELETE", f"{CUSTOMERS}/{stack.customers('user-0')[0]['id']}")
    stack.expire_leases()
    return {"user-0": "quarantined"}


def _set_aside(stack: Stack) -> None:
    """user-0 is in quarantine, and Stripe would take it now."""
    refuse(stack, CUSTOMERS, times=None, status=402, sticky=False)
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.ledger("user-0").get("refusal"))
    stack.control.clear_faults()
    stack.rows("UPDATE provisionings SET state = 'quarantined', quarantined_at = now(), refusal = NULL")


def _replace(stack: Stack) -> Mapping[str, str]:
    _set_aside(stack)
    stack.publish(profile("user-0", email="corrected@example.org"))
    return completed("user-0")


def _retry_profile(stack: Stack) -> Mapping[str, str]:
    _set_aside(stack)
    return completed("user-0")


def _key_lost(stack: Stack) -> Mapping[str, str]:
    refuse(stack, CUSTOMERS, status=503)
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.ledger("user-0"))
    stack.rows("UPDATE provisionings SET customer_request = set_byte(customer_request, 1, 0), lease_until = NULL")
    return {"user-0": "quarantined"}


def _drop(stack: Stack) -> Mapping[str, str]:
    _set_aside(stack)
    _quarantine_message(stack, b"poison", timedelta(days=1))
    return {}


def _retry_message(stack: Stack) -> Mapping[str, str]:
    """It was refused once, and the rules are other ones now."""
    _quarantine_message(stack, body(profile("user-0")), timedelta(days=1))
    return completed("user-0")


def _quarantine_message(stack: Stack, body: bytes, kept_for: timedelta) -> None:
    settings, now = stack.settings(), datetime.now(UTC)
    sealer = Sealer(settings.secret_keys())
    message = quarantine.QuarantinedMessage(
        topic=stack.topic,
        nsq_message_id="0" * 16,
        reason="not_json",
        detail="",
        sealed_body=sealer.seal(body, stack.topic.encode()),
        body_digest=sealer.fingerprint(body),
        published_at=now,
        expires_at=now + kept_for,
    )
    database = Database(settings.database)
    with database.transaction() as tx:
        quarantine.add(tx, [message])
    database.close()


def _nothing_yet(_stack: Stack) -> Mapping[str, str]:
    return completed("user-0")


def _restored(stack: Stack) -> Mapping[str, str]:
    """A row that isn't finished, which nobody can tell by whom Stripe was asked for it."""
    refuse(stack, CUSTOMERS, status=503, times=None)
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.ledger("user-0").get("last_error"))
    stack.control.clear_faults()
    return completed("user-0")


def _file(stack: Stack) -> Mapping[str, str]:
    names = users(3)
    lines = [body(profile(name)) for name in names]
    (stack._directory / "profiles.ndjson").write_bytes(b"\n".join([*lines[:2], b"no json", *lines[2:]]) + b"\n")
    return completed(*names)


def _events(stack: Stack) -> Mapping[str, str]:
    """A signup is done, Stripe's side of it has changed within the same second, and Stripe doesn't answer at first. One
    event holds what Postgres can't store, and one subscription is marked that Stripe doesn't have."""
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.is_completed("user-0"))
    path = f"{SUBSCRIPTIONS}/{stack.ledger('user-0')['stripe_subscription_id']}"
    stack.call_stripe("POST", path, cancel_at_period_end="true")
    stack.control.fault("status", match={"path": path, "method": "GET"}, status=503, times=6)
    heard = stack.events("customer.created", "customer.subscription.created", "customer.subscription.updated")
    stack.hear(*heard)
    said = pruned(heard[-1], "webhook")
    later = {"id": "evt_unstorable", "created": heard[-1]["created"] + 60, "object": {**said.object, "status": "\0"}}
    stack.hear_signed({**said._asdict(), **later})
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES ('sub_nowhere')")
    return completed("user-0")


def _events_are_heard(stack: Stack) -> Mapping[str, str]:
    """Each once, and of each change is told once."""
    marks = "SELECT 1 FROM subscription_refreshes WHERE missing_since IS NULL"
    wait_until(lambda: len(stack.outcomes()) == 4 and not stack.rows(marks), 30)
    assert stack.outcomes()["evt_unstorable"] == "quarantined"
    row = stack.subscription_row(stack.ledger("user-0")["stripe_subscription_id"])
    assert (row["canceling"], row["version"]) == (True, 2)
    told = stack.rows("SELECT version FROM subscription_changes ORDER BY version")
    assert [each["version"] for each in told] == [1, 2]
    return {}


def _matched_late(stack: Stack) -> Mapping[str, str]:
    """A subscription was recorded as nobody's, and is somebody's now."""
    _unheard_of(stack)
    stack.rows("""
        INSERT INTO unmatched_subscriptions (stripe_subscription_id, stripe_customer_id)
        SELECT stripe_subscription_id, stripe_customer_id FROM provisionings
    """)
    return completed("user-0")


def _is_fetched(stack: Stack) -> bool:
    """Whether Stripe was asked for it after the row was written, and nothing is marked any more."""
    path = f"{SUBSCRIPTIONS}/{stack.ledger('user-0')['stripe_subscription_id']}"
    return bool(stack.requests("GET", path)) and not stack.rows("SELECT 1 FROM subscription_refreshes")


def _delivered(stack: Stack) -> Mapping[str, str]:
    """A signup is done, and our endpoint is known to Stripe."""
    port = free_port()
    configured(stack, {"SUBKEEPER_WEB__PORT": str(port), "STRIPE_WEBHOOK_SECRETS": f"main={WEBHOOK_SECRET}"})
    _unheard_of(stack)
    url, kind = f"http://127.0.0.1:{port}/stripe/webhook", "customer.subscription.updated"
    stack.control.listen(url, kind, secret=WEBHOOK_SECRET)
    return completed("user-0")


def _change_while_it_listens(stack: Stack, launched: Launched) -> None:
    wait_until(lambda: "web.listening" in launched.text and "nsqd.connected" in launched.text)
    path = f"{SUBSCRIPTIONS}/{stack.ledger('user-0')['stripe_subscription_id']}"
    stack.call_stripe("POST", path, cancel_at_period_end="true")


def _is_delivered(stack: Stack) -> Mapping[str, str]:
    """Stripe had no answer, sends it again ten minutes later, and nsqd has it."""
    (event,) = stack.events("customer.subscription.updated")
    wait_until(lambda: answers(int(stack.environ["SUBKEEPER_WEB__PORT"])), what="it listens again")
    stack.control.jump(timedelta(minutes=11).total_seconds())
    wait_until(
        lambda: not stack.call_stripe("GET", f"/v1/events/{event['id']}")["pending_webhooks"], what="it is taken"
    )
    assert stack.nsqd.channel(stack.events_topic, "subkeeper")["depth"] >= 1
    return {}


def _unheard_of(stack: Stack) -> Mapping[str, str]:
    """A signup is done, and nobody has told us of what Stripe made of it."""
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.is_completed("user-0"))
    return completed("user-0")


def _all_is_polled(stack: Stack) -> Mapping[str, str]:
    """And processed, so that the cursor has passed it; nothing of it changes anything."""
    made = {each["id"] for each in stack.events(*TYPES)}
    query = "SELECT 1 FROM stripe_event_cursor WHERE caught_up_at IS NOT NULL"
    wait_until(lambda: stack.outcomes().keys() == made and stack.rows(query), 30, "all is polled")
    assert len(stack.rows("SELECT 1 FROM subscription_changes")) == 1
    return {}


LONG_AGO = "now() - interval '60 days', now() - interval '31 days'"


def _drifted(stack: Stack) -> Mapping[str, str]:
    """Stripe's side has changed, and nobody heard of it; nor can, since it is so long ago."""
    stack.rows(f"INSERT INTO stripe_event_cursor (created, gap_from, gap_to) VALUES (now(), {LONG_AGO})")
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.is_completed("user-0"))
    path = f"{SUBSCRIPTIONS}/{stack.ledger('user-0')['stripe_subscription_id']}"
    stack.call_stripe("POST", path, cancel_at_period_end="true")
    return completed("user-0")


def _drifted_with_cards(stack: Stack) -> Mapping[str, str]:
    """A card is there of which nobody heard, and one that was heard of is gone."""
    expected = _drifted(stack)
    _add_card(stack)
    stack.rows("""
        INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority, as_of)
        SELECT id, 'pm_gone', 1, now() - interval '1 day' FROM billing_customers
    """)
    return expected


def _add_card(stack: Stack) -> str:
    customer = str(stack.ledger("user-0")["stripe_customer_id"])
    return str(stack.call_stripe("POST", "/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"])


def _cards(stack: Stack) -> list[str]:
    found = stack.rows(
        "SELECT stripe_payment_method_id AS id FROM payment_methods WHERE priority > 0 ORDER BY priority"
    )
    return [each["id"] for each in found]


def _are_mended(stack: Stack) -> Mapping[str, str]:
    listed = stack.call_stripe("GET", f"/v1/payment_methods?customer={stack.ledger('user-0')['stripe_customer_id']}")
    assert _cards(stack) == [each["id"] for each in listed["data"]]
    return _is_mended(stack)


def _miscounted(stack: Stack) -> Mapping[str, str]:
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.is_completed("user-0"))
    stack.rows("INSERT INTO subscription_counts SELECT 'pro', 'active', false, NULL, 7 FROM generate_series(1, 3)")
    return completed("user-0")


def _unfolded(stack: Stack) -> Mapping[str, str]:
    """More rows than are left alone, which come to nothing."""
    stack.rows(
        "INSERT INTO subscription_counts SELECT 'pro', 'active', false, NULL, 1 - 2 * mod(n, 2)"
        " FROM generate_series(1, 3000) n"
    )
    stack.publish(profile("user-0"))
    return completed("user-0")


def _is_folded(stack: Stack) -> bool:
    with closing(Database(stack.settings().database)) as database, database.transaction() as tx:
        assert counts.miscounted(tx, correct=False) == []
    return len(stack.rows("SELECT 1 FROM subscription_counts")) < counts.MOST_ROWS


def _is_counted(stack: Stack) -> bool:
    """Corrected, if a kill kept the command from it, and once."""
    recount(stack.settings(), correct=True)
    found = count(stack.settings())
    return (found.subscriptions, found.by_status) == (1, {"trialing": 1})


def _two_cards(stack: Stack) -> Mapping[str, str]:
    """A signup is done, and its user has cards of which nobody has heard."""
    port, token = str(free_port()), {"SUBKEEPER_API__ADMIN_TOKENS": ADMIN.digest}
    configured(stack, {"SUBKEEPER_WEB__PORT": port, **token})
    _unheard_of(stack)
    _add_card(stack)
    _add_card(stack)
    return completed("user-0")


def _look_and_order(stack: Stack, launched: Launched) -> None:
    """The cards are looked at, and their order turned; the process may end at any time meanwhile."""
    wait_until(lambda: "web.listening" in launched.text)
    with suppress(OSError, HTTPException):
        _turn(stack)


def _turn(stack: Stack) -> list[str]:
    port, path = int(stack.environ["SUBKEEPER_WEB__PORT"]), "/billing/payment-methods{}?user_id=user-0"
    shown = ask(port, path.format(""), ADMIN.token)
    order = [each["id"] for each in shown.body["payment_methods"]][::-1]
    assert ask(port, path.format("/order"), ADMIN.token, "PUT", {"payment_methods": order}).status == 200
    return order


def _are_in_order(stack: Stack) -> Mapping[str, str]:
    """As they were asked for last, and counted."""
    wait_until(lambda: answers(int(stack.environ["SUBKEEPER_WEB__PORT"])), what="it listens again")
    order = _turn(stack)
    assert len(order) == 2
    assert _cards(stack) == order
    wait_until(lambda: stack.rows("SELECT 1 FROM stripe_reads WHERE purpose = 'other' AND reads > 0"), 20)
    return {}


def _heard(stack: Stack) -> Mapping[str, str]:
    """The subscription's change has been heard of."""
    _drifted(stack)
    worker = stack.start_worker("events")
    stack.hear(*stack.events("customer.subscription.updated"))
    wait_until(lambda: stack.outcomes() and not stack.rows("SELECT 1 FROM subscription_refreshes"), 20)
    worker.stop()
    return completed("user-0")


def _is_heard_again(stack: Stack) -> Mapping[str, str]:
    """With nothing changed by it."""
    worker = stack.start_worker("events")
    wait_until(lambda: stack.rows("SELECT 1 FROM processed_stripe_events WHERE source = 'replay'"), 20)
    worker.stop()
    return _is_mended(stack)


def _is_mended(stack: Stack) -> Mapping[str, str]:
    row = stack.subscription_row(stack.ledger("user-0")["stripe_subscription_id"])
    assert (row["canceling"], row["version"]) == (True, 2)
    return {}


def _before_setup(stack: Stack) -> Mapping[str, str]:
    """nsqd keeps the message for the first channel of its topic."""
    stack.publish(profile("user-0"))
    return completed("user-0")


def _secret_file(stack: Stack) -> Path:
    return stack._directory / "webhook-secret"


def _replaced_endpoint(stack: Stack) -> Mapping[str, str]:
    """One of a former version, and the one that has taken its place and what happened since."""
    asked = WebhookSetup(WEBHOOK[-1], _secret_file(stack))
    list(setup(stack.settings(), random.Random(0), webhook=asked))
    (new,) = stack.call_stripe("GET", "/v1/webhook_endpoints")["data"]
    metadata = {f"metadata[{name}]": value for name, value in new["metadata"].items()}
    types = {"enabled_events[0]": "customer.created"}
    old = {"url": WEBHOOK[-1], "api_version": "2026-05-27.dahlia", **types, **metadata}
    stack.call_stripe("POST", "/v1/webhook_endpoints", **old)
    stack.control.mishap("drop", acknowledged=True)
    stack.control.jump(60)
    stack.call_stripe("POST", "/v1/customers", name=SOMEBODY_ELSE)
    return {}


def _has_one_endpoint(stack: Stack) -> bool:
    """Whether there is one, and it is its secret that the file has."""
    (endpoint,) = stack.call_stripe("GET", "/v1/webhook_endpoints")["data"]
    return _secret_file(stack).read_text().startswith(f"{entry_name(endpoint['id'])}=whsec_")


def _changes(stack: Stack) -> Mapping[str, str]:
    """Two that wait, and one that was sent long ago."""
    stack.nsqd.create_channel(stack.changes_topic, LISTENER)
    stack.nsqd.http("POST", "/channel/empty", topic=stack.changes_topic, channel=LISTENER)
    stack.publish(profile("user-0"))
    run_until(stack, lambda: stack.is_completed("user-0"))
    for version, sent_at in ((2, None), (3, datetime.now(UTC) - timedelta(days=31))):
        stack.rows(
            "INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, before, after, cause, sent_at)"
            " VALUES ('user-0', 'sub_0', %s, '{}', '{}', 'updated', %s)",
            version,
            sent_at,
        )
    return completed("user-0")


def _are_told(stack: Stack) -> bool:
    """Whether every change was sent and heard, and the old one is gone. What is heard stays unfinished, so that nsqd
    has it for the next look, too."""
    changes = stack.rows("SELECT id, sent_at FROM subscription_changes")
    if len(changes) != 2 or any(change["sent_at"] is None for change in changes):
        return False
    settings = stack.settings(SUBKEEPER_NSQ__CHANNEL=LISTENER).nsq
    reader = Reader(settings, {stack.changes_topic: 1}, rng=random.Random(0))
    wanted, heard = {change["id"] for change in changes}, set[int]()
    deadline = time.monotonic() + 3
    while not heard >= wanted and time.monotonic() < deadline:
        heard |= {json.loads(message.body)["id"] for message in reader.read(10, 0.2)}
    reader.close(0.2)
    return heard >= wanted


# What happens meanwhile


def _publish_beside_a_refused_user(stack: Stack, launched: Launched) -> None:
    wait_until(lambda: _was_refused(stack) or launched.await_end(0) is not None)
    stack.publish(profile("user-1"))


def _publish_in_doubt(stack: Stack, launched: Launched) -> None:
    wait_until(lambda: "settling.doubted" in launched.text)
    stack.publish(profile("user-untried"))


def _stop_while_absorbing_waits(stack: Stack, launched: Launched) -> None:
    """SIGTERM reaches a worker that holds messages it cannot commit: somebody has locked the ledger."""
    with psycopg.connect(stack.database_url) as connection:
        wait_until(lambda: "process.started" in launched.text)
        connection.execute("LOCK TABLE provisionings IN ACCESS EXCLUSIVE MODE")
        stack.publish(profile("user-0"))
        wait_until(lambda: stack.nsqd.channel(stack.topic, "subkeeper")["in_flight_count"])
        launched.send(signal.SIGTERM)
        launched.await_end()


def _verify(stack: Stack) -> tuple[str, ...]:
    """Goes on where a killed one was."""
    progress = stack._directory / "progress"
    is_begun = progress.exists() and "began" in progress.read_text()
    return "verify", "--repair", "--progress", str(progress), *(("--resume",) if is_begun else ())


SCENARIOS: Mapping[str, Scenario] = {
    "start": Scenario(
        _start,
        (
            Kill("commit:Budget.renew"),
            Kill("stripe:account.retrieve"),
            Kill("commit:Ownership.claim"),
            Kill("stripe:prices.list"),
            Kill("nsq:SUB"),
            Kill("commit:Watch._forget_expired"),
        ),
    ),
    "counts": Scenario(_unfolded, (Kill("commit:Watch._fold_counts"),), is_done=_is_folded),
    "first delivery": Scenario(
        _first_delivery,
        (
            Kill("commit:ProfileInbox._commit"),
            Kill("nsq:FIN"),
            Kill("stripe:customers.create", 2),
            Kill("commit:Leases.record_customer", 2),
            Kill("stripe:subscriptions.create", 2),
            Kill("commit:Leases.complete", 2),
        ),
        refused=1,
    ),
    "backfilled": Scenario(
        _backfill, (Kill("commit:ProfileInbox._commit"), Kill("nsq:FIN"), Kill("commit:Leases.complete"))
    ),
    "retry of the customer": Scenario(
        _retry(CUSTOMERS),
        (
            Kill("commit:Leases.postpone"),
            Kill("commit:Leases.lease_due"),
            Kill("stripe:customers.create", 2),
        ),
    ),
    "retry of the subscription": Scenario(
        _retry(SUBSCRIPTIONS),
        (Kill("commit:Leases.postpone"), Kill("stripe:subscriptions.create", 2), Kill("commit:Leases.complete")),
    ),
    "look": Scenario(
        _look,
        (
            Kill("stripe:customers.list"),
            Kill("stripe:customers.search"),
            Kill("commit:Leases.record_customer"),
            Kill("stripe:subscriptions.list"),
            Kill("commit:Leases.complete"),
        ),
    ),
    "look on a machine that slept": Scenario(
        _look,
        (Kill("commit:Leases.keep"),),
        also=(Fault("suspend", "stripe:customers.search", seconds=9),),
    ),
    "known customer": Scenario(_reuse, (Kill("commit:Leases.record_customer"),)),
    "customer's key burnt before the effect": Scenario(
        _burnt(CUSTOMERS, "before"),
        (
            Kill("stripe:customers.create", 2),
            Kill("stripe:customers.list"),
            Kill("commit:Leases.next_generation"),
            Kill("stripe:customers.create", 3),
        ),
    ),
    "customer's key burnt after the effect": Scenario(
        _burnt(CUSTOMERS, "after"), (Kill("stripe:customers.create", 2), Kill("commit:Leases.record_customer"))
    ),
    "subscription's key burnt before the effect": Scenario(
        _burnt(SUBSCRIPTIONS, "before"),
        (
            Kill("stripe:subscriptions.list"),
            Kill("commit:Leases.next_generation"),
            Kill("commit:Leases.freeze_subscription_request"),
            Kill("stripe:subscriptions.create", 3),
        ),
    ),
    "subscription's key burnt after the effect": Scenario(
        _burnt(SUBSCRIPTIONS, "after"), (Kill("stripe:subscriptions.list"), Kill("commit:Leases.complete"))
    ),
    "field refused": Scenario(
        _field_refused, (Kill("commit:Leases.next_generation"), Kill("stripe:customers.create", 2))
    ),
    "refused beside others who pass": Scenario(
        _refused_for_good,
        (Kill("commit:Leases.refuse"), Kill("commit:Leases.release_refused"), Kill("commit:Leases.refuse", 2)),
        during=_publish_beside_a_refused_user,
        afterwards=_one_more,
    ),
    "everybody refused": Scenario(
        _everybody_refused,
        (
            Kill("commit:Leases.lease_untried"),
            Kill("commit:Leases.lease_refused"),
            Kill("commit:Leases.release_refused"),
        ),
        during=_publish_in_doubt,
    ),
    "customer gone": Scenario(
        _customer_gone,
        (
            Kill("stripe:subscriptions.create"),
            Kill("stripe:customers.retrieve"),
            Kill("commit:Leases.quarantine"),
        ),
    ),
    "on a test clock": Scenario(_on_a_test_clock, (Kill("stripe:test_clocks.retrieve"),)),
    "a newer message for a quarantined user": Scenario(_replace, (Kill("commit:ProfileInbox._commit"),)),
    "drain": Scenario(
        _nothing_yet,
        (Kill("nsq:CLS"), Kill("nsq:REQ"), Kill("commit:Budget._leave")),
        during=_stop_while_absorbing_waits,
        environ={"SUBKEEPER_DATABASE__LOCK_TIMEOUT": "0.3"},
    ),
    "events": Scenario(
        _events,
        (
            Kill("commit:EventInbox.maintain"),
            Kill("commit:EventInbox._commit"),
            Kill("nsq:FIN"),
            Kill("commit:EventInbox._set_message_aside"),
            Kill("commit:EventInbox._set_message_aside", 2),
            Kill("commit:Refresher._lease"),
            Kill("stripe:subscriptions.retrieve"),
            Kill("commit:Refresher._postpone"),
            Kill("commit:Refresher._write"),
            Kill("commit:Vanished.denied"),
            Kill("commit:Watch._count_reads"),
        ),
        command=lambda _: RUN_EVENTS,
        afterwards=_events_are_heard,
        refused=1,
    ),
    "what was nobody's": Scenario(
        _matched_late,
        (Kill("commit:EventInbox.maintain", 2),),
        command=lambda _: RUN_EVENTS,
        is_done=_is_fetched,
    ),
    "delivery": Scenario(
        _delivered,
        (Kill("publish:StripeWebhook.take"),),
        command=lambda _: ("run", "web"),
        during=_change_while_it_listens,
        afterwards=_is_delivered,
    ),
    "change that was asked for": Scenario(
        accounts.arranged,
        (
            Kill("commit:AccountWork._prune"),
            Kill("commit:Asking.insert"),
            Kill("commit:ChangeLeases.begin"),
            Kill("stripe:payment_methods.attach"),
            Kill("commit:ChangeLeases.advance"),
            Kill("stripe:customers.update"),
            Kill("stripe:customers.update", 2),
            Kill("stripe:subscriptions.update"),
            Kill("commit:ChangeLeases.advance", 5),
            Kill("commit:ChangeLeases.advance", 6),
            Kill("commit:ApiStripe.count_reads"),
        ),
        command=lambda _: RUN_WEB,
        during=accounts.asking(accounts.CHANGE),
        afterwards=accounts.asked_again(accounts.CHANGE, accounts.is_changed),
        environ=accounts.ENVIRON,
    ),
    "change that Stripe did not answer": Scenario(
        accounts.failing("/v1/payment_methods/pm_card_visa/attach"),
        (
            Kill("commit:ChangeLeases.postpone"),
            Kill("commit:ChangeLeases.lease_due"),
            Kill("stripe:payment_methods.attach", 2),
        ),
        command=lambda _: RUN_WEB,
        during=accounts.asking(accounts.CHANGE),
        afterwards=accounts.asked_again(accounts.CHANGE, accounts.is_changed),
        environ=accounts.ENVIRON,
    ),
    "change that is declined": Scenario(
        accounts.arranged,
        (Kill("commit:ChangeLeases.refuse"),),
        command=lambda _: RUN_WEB,
        during=accounts.asking(accounts.DECLINED),
        afterwards=accounts.asked_again(accounts.DECLINED, accounts.is_refused),
        environ=accounts.ENVIRON,
    ),
    "change of what is on the bills": Scenario(
        accounts.arranged_with_a_tax_id,
        (
            Kill("stripe:customers.update"),
            Kill("stripe:tax_ids.list"),
            Kill("stripe:tax_ids.create"),
            Kill("stripe:tax_ids.delete"),
        ),
        command=lambda _: RUN_WEB,
        during=accounts.asking(accounts.DETAILS),
        afterwards=accounts.asked_again(accounts.DETAILS, accounts.is_on_the_bills),
        environ=accounts.ENVIRON,
    ),
    "role on a customer": Scenario(
        accounts.arranged,
        (Kill("commit:Sharing.set"),),
        command=lambda _: RUN_WEB,
        during=accounts.giving,
        afterwards=accounts.given_again,
        environ=accounts.ENVIRON,
    ),
    "removal that was asked for": Scenario(
        accounts.arranged,
        (Kill("stripe:subscriptions.cancel"), Kill("commit:ChangeLeases.remove")),
        command=lambda _: RUN_WEB,
        during=accounts.asking(accounts.REMOVAL),
        afterwards=accounts.asked_again(accounts.REMOVAL, accounts.is_removed),
        environ=accounts.ENVIRON,
    ),
    "erasure that was asked for": Scenario(
        erasures.arranged,
        (
            Kill("commit:Asking.insert"),
            Kill("commit:ErasureRows.settle"),
            Kill("stripe:checkout.sessions.expire"),
            Kill("commit:PageRows.heard"),
            Kill("stripe:customers.search"),
            Kill("stripe:subscriptions.cancel"),
            Kill("commit:ErasureRows.claim"),
            Kill("commit:ChangeLeases.begin", 3),
            Kill("stripe:customers.delete"),
            Kill("commit:ChangeLeases.advance", 4),
            Kill("commit:ErasureRows.forget_messages"),
            Kill("commit:ErasureRows.forget_pages"),
            Kill("commit:ErasureRows.erase"),
        ),
        command=lambda _: RUN_WEB,
        during=accounts.asking(erasures.ERASURE),
        afterwards=accounts.asked_again(erasures.ERASURE, erasures.is_erased, erasures.ERASED),
        environ=accounts.ENVIRON,
    ),
    "erasure from what others own": Scenario(
        erasures.shared,
        (
            Kill("stripe:subscriptions.cancel"),
            Kill("stripe:customers.update"),
            Kill("stripe:subscriptions.update"),
            Kill("commit:ErasureRows.erase"),
        ),
        command=lambda _: RUN_WEB,
        during=accounts.asking(erasures.ERASURE),
        afterwards=accounts.asked_again(erasures.ERASURE, erasures.is_taken_out, erasures.ERASED),
        environ=accounts.ENVIRON,
    ),
    "erasure beside a signup": Scenario(
        erasures.signing_up,
        (
            Kill("commit:ProfileInbox._commit"),
            Kill("stripe:customers.create"),
            Kill("stripe:subscriptions.create"),
            Kill("commit:Leases.complete"),
        ),
        during=erasures.asked_of_the_web,
        afterwards=erasures.comes_to_its_end(erasures.leaves_nothing),
        environ=accounts.ENVIRON,
    ),
    "erasure beside events": Scenario(
        erasures.hearing,
        (
            Kill("commit:EventInbox._commit"),
            Kill("stripe:subscriptions.retrieve"),
            Kill("commit:Refresher._write"),
        ),
        command=lambda _: RUN_EVENTS,
        during=erasures.asked_of_the_web,
        afterwards=erasures.comes_to_its_end(erasures.is_heard_in_vain),
        environ=accounts.ENVIRON,
    ),
    "erasure beside a charge": Scenario(
        charging.owing,
        (
            Kill("commit:ChargeLeases.begin"),
            Kill("stripe:invoices.pay"),
            Kill("stripe:invoices.pay", 2),
            Kill("commit:ChargeLeases.answered", 2),
        ),
        command=lambda _: RUN_EVENTS,
        during=erasures.asked_of_the_web,
        afterwards=erasures.comes_to_its_end(erasures.is_charged_once),
        environ=charging.ENVIRON,
    ),
    "erasure beside a checkout": Scenario(
        accounts.arranged,
        (
            Kill("stripe:checkout.sessions.retrieve"),
            Kill("stripe:subscriptions.update"),
            Kill("stripe:subscriptions.update", 2),
        ),
        command=lambda _: RUN_WEB,
        during=erasures.asked_while_paying,
        afterwards=erasures.comes_to_its_end(erasures.is_applied_first),
        environ=pages.ENVIRON,
    ),
    "card that is taken away": Scenario(
        accounts.with_cards,
        (
            Kill("commit:Asking.insert"),
            Kill("commit:ChangeLeases.begin"),
            Kill("stripe:payment_methods.detach"),
            Kill("stripe:customers.retrieve"),
            Kill("commit:ChangeLeases.advance"),
        ),
        command=lambda _: RUN_WEB,
        during=accounts.asking(accounts.DETACHMENT),
        afterwards=accounts.asked_again(accounts.DETACHMENT, accounts.is_taken_away),
        environ=accounts.ENVIRON,
    ),
    "card that is gone already": Scenario(
        accounts.with_a_card_that_is_gone,
        (Kill("stripe:payment_methods.retrieve"),),
        command=lambda _: RUN_WEB,
        during=accounts.asking(accounts.DETACHMENT),
        afterwards=accounts.asked_again(accounts.DETACHMENT, accounts.is_taken_away),
        environ=accounts.ENVIRON,
    ),
    "creation that was asked for": Scenario(
        accounts.arranged,
        (Kill("commit:Asking.insert"), Kill("commit:ChangeLeases.advance")),
        command=lambda _: RUN_ALL,
        during=accounts.asking(accounts.CREATION),
        afterwards=accounts.asked_again(accounts.CREATION, accounts.is_created, {"user-1": "completed"}),
        environ=accounts.ENVIRON,
    ),
    "cards": Scenario(
        _two_cards,
        (
            Kill("stripe:payment_methods.list"),
            Kill("commit:Cards.of"),
            Kill("commit:Cards.reorder"),
            Kill("commit:ApiStripe.count_reads"),
        ),
        command=lambda _: ("run", "web"),
        during=_look_and_order,
        afterwards=_are_in_order,
    ),
    "checkout": Scenario(
        accounts.arranged,
        (
            Kill("commit:Asking.insert"),
            Kill("stripe:checkout.sessions.create"),
            Kill("commit:ChangeLeases.advance", 2),
            Kill("commit:EventInbox._commit"),
            Kill("stripe:checkout.sessions.retrieve"),
            Kill("stripe:subscriptions.update", 2),
            Kill("commit:ChangeLeases.advance", 10),
        ),
        command=lambda _: RUN_ALL,
        during=pages.paying,
        afterwards=pages.is_paid(),
        environ=pages.ENVIRON,
    ),
    "checkout beside another": Scenario(
        pages.another_open,
        (Kill("stripe:checkout.sessions.expire"), Kill("commit:PageRows.heard")),
        command=lambda _: RUN_ALL,
        during=pages.paying,
        afterwards=pages.is_paid(pages.other_expired),
        environ=pages.ENVIRON,
    ),
    "checkout of what is owed": Scenario(
        pages.owing,
        (Kill("stripe:invoices.pay"),),
        command=lambda _: RUN_ALL,
        during=pages.paying,
        afterwards=pages.is_paid(pages.is_active),
        environ=pages.ENVIRON,
    ),
    "checkout of what is paused": Scenario(
        pages.paused,
        (Kill("stripe:subscriptions.resume"),),
        command=lambda _: RUN_ALL,
        during=pages.paying,
        afterwards=pages.is_paid(pages.is_active),
        environ=pages.ENVIRON,
    ),
    "checkout beside another subscription": Scenario(
        pages.removed,
        (Kill("stripe:subscriptions.cancel"), Kill("commit:ChangeLeases.refuse")),
        command=lambda _: RUN_WEB,
        during=pages.paying_beside_another,
        afterwards=pages.second_is_canceled,
        environ=pages.ENVIRON,
    ),
    "checkout after the end": Scenario(
        pages.removed,
        (Kill("commit:PageRows.is_taken_in"),),
        command=lambda _: RUN_WEB,
        during=pages.paying_unpolled,
        afterwards=pages.is_paid(pages.is_active),
        environ=pages.ENVIRON,
    ),
    "portal": Scenario(
        accounts.arranged,
        (Kill("stripe:billing_portal.configurations.list"), Kill("stripe:billing_portal.sessions.create")),
        command=lambda _: RUN_WEB,
        during=accounts.asking(pages.PORTAL),
        afterwards=pages.portal_is_there,
        environ=pages.ENVIRON,
    ),
    "setup of the portal": Scenario(
        pages.without_portal,
        (Kill("stripe:billing_portal.configurations.create"),),
        command=lambda _: ("setup",),
        environ=pages.ENVIRON,
        is_done=pages.has_one_portal,
    ),
    "setup of a portal that was changed": Scenario(
        pages.changed_portal,
        (Kill("stripe:billing_portal.configurations.update"),),
        command=lambda _: ("setup",),
        environ=pages.ENVIRON,
        is_done=pages.has_one_portal,
    ),
    "charging in order": Scenario(
        charging.owing,
        (
            Kill("commit:ChargeLeases.lease_due"),
            Kill("stripe:invoices.retrieve"),
            Kill("commit:ChargeLeases.leave"),
            Kill("commit:ChargeLeases.begin"),
            Kill("stripe:invoices.pay"),
            Kill("commit:ChargeLeases.answered"),
            Kill("commit:ChargeLeases.begin", 2),
            Kill("stripe:invoices.pay", 2),
            Kill("commit:ChargeLeases.answered", 2),
        ),
        command=lambda _: RUN_EVENTS,
        environ=charging.ENVIRON,
        is_done=charging.is_paid_once,
    ),
    "charging that Stripe did not answer": Scenario(
        charging.unanswered,
        (Kill("commit:ChargeLeases.postpone"), Kill("stripe:invoices.pay", 2)),
        command=lambda _: RUN_EVENTS,
        environ=charging.ENVIRON,
        is_done=charging.is_paid_once,
    ),
    "charging whose key is forgotten": Scenario(
        charging.forgotten,
        (Kill("commit:ChargeLeases.renew"), Kill("stripe:invoices.pay")),
        command=lambda _: RUN_EVENTS,
        environ=charging.ENVIRON,
        is_done=charging.is_paid_once,
    ),
    "polling": Scenario(
        _unheard_of,
        (
            Kill("commit:Leadership.take"),
            *(Kill("commit:Leadership.write", nth) for nth in (1, 2, 4, 6)),
            Kill("stripe:events.list"),
            Kill("publish:Outlet.publish"),
        ),
        command=lambda _: RUN_ALL,
        afterwards=_all_is_polled,
        environ={"SUBKEEPER_STRIPE__MONTHLY_READS": "1000000000"},
    ),
    "stats": Scenario(
        _miscounted,
        (Kill("commit:counting.recount"),),
        command=lambda _: ("stats", "--repair"),
        is_done=_is_counted,
    ),
    "verify": Scenario(
        _drifted_with_cards,
        (
            Kill("commit:ReadMeter.foresee"),
            Kill("commit:ReadMeter.spend"),
            Kill("commit:Refresher.mark"),
            Kill("commit:Verifier._spool_unseen"),
            Kill("commit:Verifier._heal_gap"),
            Kill("commit:ReadMeter.give_back"),
            Kill("commit:CardComparison._told"),
            *(Kill("file:Walk._append", nth) for nth in (1, 2, 3)),
        ),
        command=_verify,
        environ={"SUBKEEPER_STRIPE__REQUEST_TIMEOUT": "1", "SUBKEEPER_SETTLE__LEASE": "6"},
        afterwards=_are_mended,
    ),
    "events replay": Scenario(
        _heard,
        (Kill("stripe:events.retrieve"), Kill("commit:Replay._forget"), Kill("publish:replaying.replay")),
        command=lambda stack: ("events", "replay", stack.events("customer.subscription.updated")[0]["id"]),
        afterwards=_is_heard_again,
    ),
    "publish": Scenario(
        _nothing_yet,
        (Kill("publish:publish.publish"),),
        command=lambda _: ("publish", "--id", "user-0", "--email", "user-0@example.org"),
    ),
    "relay": Scenario(
        _changes,
        (Kill("publish:Relay._publish"), Kill("commit:Relay.publish_waiting"), Kill("commit:Pruner._step")),
        command=lambda _: ("run", "relay"),
        is_done=_are_told,
    ),
    "backfill": Scenario(
        _file,
        (Kill("publish:Outlet.send"), Kill("file:ProgressFile.save", 2), Kill("commit:publishing.take_census")),
        command=lambda stack: ("backfill", str(stack._directory / "profiles.ndjson")),
    ),
    "quarantine retry of a message": Scenario(
        _retry_message,
        (Kill("publish:Quarantine.retry_messages"), Kill("commit:Quarantine.retry_messages")),
        command=lambda _: ("quarantine", "retry", "--all"),
    ),
    "quarantine retry of a profile": Scenario(
        _retry_profile,
        (Kill("commit:Quarantine.retry_profiles"),),
        command=lambda _: ("quarantine", "retry", "--all"),
    ),
    "quarantine drop": Scenario(
        _drop,
        (Kill("commit:Quarantine.drop_messages"), Kill("commit:Quarantine.drop_profiles")),
        command=lambda _: ("quarantine", "drop", "--all", "--yes"),
    ),
    "quarantine unopenable": Scenario(
        _key_lost,
        (Kill("commit:Quarantine.set_aside_unopenable"),),
        command=lambda _: ("quarantine", "unopenable", "--yes"),
    ),
    "quarantine unopenable of a change": Scenario(
        accounts.key_lost,
        (Kill("commit:Quarantine.fail_unopenable"),),
        command=lambda _: ("quarantine", "unopenable", "--yes"),
        environ=accounts.ENVIRON,
        is_done=accounts.is_failed,
    ),
    "provisioning doubt": Scenario(
        _restored,
        (Kill("commit:restored.look_first"),),
        command=lambda _: ("provisioning", "doubt", "--yes"),
    ),
    "setup": Scenario(
        _before_setup,
        (
            Kill("commit:setup._schema"),
            Kill("commit:Ownership.claim"),
            Kill("stripe:products.list"),
            Kill("stripe:products.create"),
            Kill("stripe:products.update"),
            Kill("stripe:prices.create"),
            Kill("nsq:POST /topic/create"),
            Kill("nsq:POST /channel/create", 2),
        ),
        command=lambda _: ("setup",),
        is_set_up=False,
    ),
    "webhook": Scenario(
        lambda _: {},
        (
            Kill("stripe:webhook_endpoints.list"),
            Kill("stripe:webhook_endpoints.create"),
            Kill("file:SecretFile.write"),
            Kill("stripe:webhook_endpoints.update"),
        ),
        command=lambda stack: (*WEBHOOK, f"--webhook-secret-file={_secret_file(stack)}"),
        is_done=_has_one_endpoint,
    ),
    "retire": Scenario(
        _replaced_endpoint,
        (Kill("stripe:webhook_endpoints.delete"),),
        command=lambda _: (*WEBHOOK, "--retire"),
        is_done=_has_one_endpoint,
    ),
}
