"""Every change of a subscription reaches whoever listens, at least once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

import psycopg
import pytest
from structlog.testing import capture_logs

from sandbox.postgres import PostgresServer
from tests.conftest import NewNsqd
from tests.integration.provisioning.conftest import NewStack
from tests.integration.relay.conftest import Listen, add_changes, unsent
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.events import relay

pytestmark = pytest.mark.usefixtures("quick_probes", "quick_relay")


def test_a_signup_s_subscription_is_told_to_other_services(stack: Stack, listen: Listen) -> None:
    listener = listen(stack)
    worker = stack.start_worker("all")
    stack.publish(profile("ada"))
    (change,) = listener.hear(1)
    row = stack.ledger("ada")
    assert (change["user_id"], change["subscription"]) == ("ada", row["stripe_subscription_id"])
    assert (change["version"], change["before"], change["cause"]) == (1, None, "provisioned")
    assert (change["after"]["plan"], change["after"]["stripe_subscription_status"]) == ("pending", "trialing")
    assert datetime.fromisoformat(change["after"]["trial_end"]) == row["trial_end"]
    wait_until(lambda: unsent(stack) == 0)
    wait_until(lambda: worker.metric("subkeeper_change_to_sent_seconds_count") == 1)
    wait_until(worker.is_ready)


def test_a_removed_row_is_told_with_its_last_version(stack: Stack, listen: Listen) -> None:
    listener = listen(stack)
    stack.rows(
        "INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, before, cause)"
        """ VALUES ('ada', 'sub_1', 7, '{"plan": "pending"}', 'customer.deleted')"""
    )
    stack.start_worker("relay")
    (change,) = listener.hear(1)
    assert change.pop("id") == stack.rows("SELECT id FROM subscription_changes")[0]["id"]
    assert change == {
        "user_id": "ada",
        "subscription": "sub_1",
        "version": 7,
        "before": {"plan": "pending"},
        "after": None,
        "cause": "customer.deleted",
    }


def test_a_transaction_that_commits_late_is_not_passed_over(stack: Stack, listen: Listen) -> None:
    listener = listen(stack)
    stack.start_worker("relay")
    with psycopg.connect(stack.database_url) as late:
        late.execute(
            "INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, after, cause)"
            " VALUES ('late', 'sub_late', 1, '{}', 'created')"
        )
        add_changes(stack, 3)
        assert len(listener.hear(3)) == 3
    (change,) = listener.hear(1)
    assert change["user_id"] == "late"
    assert change["id"] < stack.rows("SELECT max(id) AS n FROM subscription_changes")[0]["n"]


def test_two_relays_share_what_waits(stack: Stack, listen: Listen) -> None:
    listener = listen(stack)
    add_changes(stack, 3000)
    workers = [stack.start_worker("relay") for _ in range(2)]
    heard = Counter(change["id"] for change in listener.hear(3000))
    assert (len(heard), listener.hears_more()) == (3000, False), "each once"
    wait_until(lambda: unsent(stack) == 0)
    sent = sum(worker.metric("subkeeper_change_to_sent_seconds_count") for worker in workers)
    assert sent == 3000


def test_while_nsqd_is_away_changes_wait_and_the_process_says_so(
    new_stack: NewStack, new_nsqd: NewNsqd, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PUBLISH_TIMEOUT", 0.2)  # batches fail meanwhile, and stay unsent
    nsqd = new_nsqd()
    stack = new_stack(nsqd=nsqd)
    stack.setup()
    listener = listen(stack)
    worker = stack.start_worker("relay")
    wait_until(worker.is_ready)
    with capture_logs() as logs:
        nsqd.stop()
        wait_until(lambda: not worker.is_ready(), what="it notices with nothing to publish, too")
        add_changes(stack, 3)
        wait_until(lambda: worker.metric("subkeeper_changes_unsent") == 3)
        wait_until(lambda: worker.metric("subkeeper_changes_oldest_unsent_seconds") > 1)
    ok, detail = worker.part("relay")
    assert not ok
    assert f"changes wait: nsqd is unavailable: {nsqd.tcp_address}: unreachable: Connection refused" in detail
    told = [line["event"] for line in logs if line["log_level"] in {"warning", "error"}]
    assert sorted(told) == ["health.changed", "nsqd.refused", "nsqd_stats.failed"], "once each"
    nsqd.start()
    assert {change["subscription"] for change in listener.hear(3)} == {"sub_1", "sub_2", "sub_3"}
    wait_until(worker.is_ready)
    wait_until(lambda: unsent(stack) == 0)


def test_while_postgres_is_away_the_process_says_so_and_goes_on_afterwards(
    new_stack: NewStack, new_postgres: Callable[[], PostgresServer], listen: Listen
) -> None:
    postgres = new_postgres()
    stack = new_stack(database_url=postgres.create_database("subkeeper"))
    stack.setup()
    listener = listen(stack)
    worker = stack.start_worker("relay")
    wait_until(worker.is_ready)
    postgres.stop()
    wait_until(lambda: not worker.part("postgres")[0])
    assert worker.is_healthy()
    postgres.start()
    add_changes(stack, 1)
    listener.hear(1)
    wait_until(worker.is_ready)


def test_a_change_that_nsqd_refuses_for_its_size_holds_up_only_itself(
    new_stack: NewStack, new_nsqd: NewNsqd, listen: Listen
) -> None:
    nsqd = new_nsqd(flags=["--max-msg-size=1000"])
    stack = new_stack(nsqd=nsqd)
    stack.setup()
    listener = listen(stack)
    add_changes(stack, 20)
    add_changes(stack, 1, after=f'{{"plan": "{"x" * 2000}"}}')
    add_changes(stack, 20)
    with capture_logs() as logs:
        worker = stack.start_worker("relay")
        assert len(listener.hear(40)) == 40
        wait_until(lambda: worker.metric("subkeeper_changes_refused") == 1)
    assert worker.metric("subkeeper_changes_unsent") == worker.metric("subkeeper_changes_oldest_unsent_seconds") == 0
    (told,) = [line for line in logs if line["event"] == "change.refused"]
    assert (told["user_id"], told["reason"]) == ("user-1", "message_too_big")
    wait_until(worker.is_ready)
    nsqd.stop()
    nsqd._flags = ()
    nsqd.start()
    stack.rows("UPDATE subscription_changes SET refused_at = now() - interval '1 hour' WHERE refused_at IS NOT NULL")
    (change,) = listener.hear(1)
    assert change["after"]["plan"] == "x" * 2000
    wait_until(lambda: worker.metric("subkeeper_changes_refused") == 0)


def test_a_relay_asks_nothing_of_stripe(stack: Stack, listen: Listen) -> None:
    listener = listen(stack)
    add_changes(stack, 1)
    worker = stack.start_worker("relay", SUBKEEPER_STRIPE__API_BASE="http://127.0.0.1:1")
    listener.hear(1)
    wait_until(worker.is_ready)
    assert stack.rows("SELECT 1 FROM processes") == [], "it takes no part of Stripe's rate from who needs it"


def test_without_any_key_a_relay_does_its_work(new_stack: NewStack, listen: Listen) -> None:
    stack = new_stack()
    listener = listen(stack)
    add_changes(stack, 1)
    worker = stack.start_worker("relay", STRIPE_SECRET_KEY="", SUBKEEPER_SECRET_KEY="")
    listener.hear(1)
    wait_until(worker.is_ready)
    wait_until(lambda: "subkeeper_changes_unsent" in worker.get("/metrics")[1])
    assert "subkeeper_unopenable_profiles 0" not in worker.get("/metrics")[1], "it can't tell"


def test_without_a_key_all_else_is_disabled_and_changes_are_told(new_stack: NewStack, listen: Listen) -> None:
    stack = new_stack()
    listener = listen(stack)
    add_changes(stack, 1)
    worker = stack.start_worker("all", STRIPE_SECRET_KEY="")
    stack.publish(profile("ada"))
    listener.hear(1)
    wait_until(worker.is_ready)
    assert worker.part("nsqd_events")[0]
    wait_until(lambda: worker.metric("subkeeper_channel_depth", topic=stack.topic) == 1)
