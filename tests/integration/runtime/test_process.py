"""A process as a supervisor and a monitor see it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.forked import SUBKEEPER
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until

SIGNALLED_INSIDE_WAIT = """
import random, signal, sys
from worker.runtime.process import Process
from worker.settings.model import Settings
from worker.settings.sections import HealthSettings
process = Process(Settings(health=HealthSettings(port=0)), "profiles", random.Random())
process.stop_on_signals()
with process._stopping._cond:  # as Event.wait holds it, for moments
    signal.raise_signal(signal.SIGTERM)
sys.exit(0 if process._stopping.wait(30) else 1)
"""

ASKED_TWICE = """
import signal, threading, time
from worker.runtime import signals
asked = threading.Event()
signals.on_first(asked.set)
signal.raise_signal(signal.SIGINT)
signal.raise_signal(signal.SIGTERM)
asked.wait(30)
time.sleep(signals.TOGETHER + 0.2)
print("draining", flush=True)
signal.raise_signal(signal.SIGHUP)
time.sleep(30)
"""


def test_a_worker_becomes_ready_by_itself(stack: Stack) -> None:
    wait_until(stack.spawn_worker().is_ready)


def test_the_metrics_count_what_happened(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(3)], b"poison")
    stack.await_completed(*users(3))
    wait_until(stack.is_drained)

    def count(name: str, **labels: str) -> float:
        return worker.metric(f"subkeeper_{name}", **labels)

    assert count("messages_total", topic=stack.topic, outcome="new") == 3
    assert count("messages_total", topic=stack.topic, outcome="quarantined") == 1
    wait_until(lambda: count("settle_seconds_count", lane="live", outcome="completed") == 3)
    for operation in ("customers.create", "subscriptions.create"):
        assert count("stripe_calls_total", operation=operation, outcome="ok") == 3
    assert (count("nsqd_links", state="connected"), count("nsqd_links", state="wanted")) == (2, 2)
    assert count("threads_alive") >= 8


def test_the_age_of_the_oldest_unsettled_profile_is_told(stack: Stack) -> None:
    stack.control.fault("status", match={"path": "/v1/customers", "method": "POST"}, status=503)
    stack.publish(profile("ada"))
    stack.start_worker().stop()
    stack.publish(profile("ada"))
    first = stack.start_worker()
    wait_until(lambda: stack.ledger("ada"))
    first.stop()
    stack.rows("UPDATE provisionings SET first_seen_at = now() - interval '1 hour'")
    worker = stack.start_worker()
    wait_until(lambda: worker.metric("subkeeper_oldest_unsettled_seconds") > 3600)
    wait_until(worker.is_ready, what="ready: an alert is no reason to restart")


def test_a_part_that_is_away_makes_the_process_unready_and_says_so(stack: Stack) -> None:
    worker = stack.start_worker()
    wait_until(worker.is_ready)
    status, body = worker.get("/readyz")
    assert status == 200
    assert '"nsqd"' in body
    assert '"postgres"' in body
    assert '"stripe"' in body
    assert worker.get("/healthz")[0] == 200
    assert worker.get("/nothing")[0] == 404


def test_a_worker_that_is_stopped_leaves_no_connection_and_no_thread(stack: Stack) -> None:
    worker = stack.start_worker()
    wait_until(worker.is_ready)
    assert worker.stop() == 0
    assert not stack.nsqd.channel(stack.topic, "subkeeper")["clients"]
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'subkeeper'"
    wait_until(lambda: not stack.rows(query))


def test_a_signal_is_heard_whatever_the_main_thread_holds() -> None:
    subprocess.run([sys.executable, "-c", SIGNALLED_INSIDE_WAIT], check=True, timeout=60)


@pytest.fixture
def hangups_heard() -> Iterator[None]:
    """Also where the tests themselves run under nohup, which children inherit."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_heard")
def test_signals_that_come_together_ask_once_and_a_later_one_ends_the_process_at_once() -> None:
    asked = subprocess.run([sys.executable, "-c", ASKED_TWICE], check=False, timeout=60, capture_output=True)
    assert (asked.stdout, asked.returncode) == (b"draining\n", 128 + signal.SIGHUP)


@pytest.mark.usefixtures("hangups_heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_asks_to_end_drains(stack: Stack, number: signal.Signals) -> None:
    worker = stack.spawn_worker()
    worker.send(number)
    assert worker.wait() == 0
    assert worker.logged("process.stopped")


def test_a_worker_under_nohup_outlives_its_terminal(stack: Stack) -> None:
    worker = stack.spawn("run", "profiles", program=("nohup", str(SUBKEEPER))).await_start()
    worker.send(signal.SIGHUP)
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    assert worker.is_healthy()
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
