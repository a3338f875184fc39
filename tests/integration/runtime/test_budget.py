"""Several workers on one Stripe account: each knows its part, and says why it has none."""

from __future__ import annotations

import pytest

from tests.support.stack import Stack, Worker
from tests.support.waiting import wait_until
from worker.runtime import budget

RENEWAL = 0.1


@pytest.fixture(autouse=True)
def quick_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "RENEWAL", RENEWAL)


def told(worker: Worker) -> str:
    return worker.part("budget")[1]


def test_a_second_worker_has_a_half_and_one_that_drains_gives_it_back_at_once(stack: Stack) -> None:
    first = stack.start_worker()
    wait_until(lambda: told(first) == "800 requests/s of 800; 1 live")
    second = stack.start_worker()
    wait_until(lambda: told(first) == told(second) == "400 requests/s of 800; 2 live")
    assert first.metric("subkeeper_processes") == 2
    assert first.metric("subkeeper_limiter_rate_per_second", scope="account") > 0
    assert second.stop() == 0
    assert len(stack.rows("SELECT id FROM processes")) == 1
    wait_until(lambda: told(first) == "800 requests/s of 800; 1 live")


def test_a_row_that_can_t_be_renewed_is_told_with_the_reason_and_joins_anew(stack: Stack) -> None:
    worker = stack.spawn_worker()
    wait_until(lambda: worker.part("budget")[0])
    stack.rows("ALTER TABLE processes RENAME TO hidden")
    wait_until(lambda: not worker.part("budget")[0])
    assert "1 request/s, as its row can't be renewed: " in worker.part("budget")[1]
    assert worker.metric("subkeeper_up", part="budget") == 0
    assert "\nsubkeeper_processes " not in worker.get("/metrics")[1]
    stack.rows("ALTER TABLE hidden RENAME TO processes")
    wait_until(lambda: worker.part("budget")[0])
    assert [line["event"] for line in worker.lines if line["event"].startswith("budget.")] == [
        "budget.lapsed", "budget.renewed"
    ]  # fmt: skip


def test_a_worker_that_waits_for_stripe_at_its_start_stays_in_its_place(stack: Stack) -> None:
    """Its row is renewed meanwhile."""
    worker = stack.start_worker(SUBKEEPER_STRIPE__API_BASE="http://127.0.0.1:1")
    wait_until(lambda: stack.rows("SELECT id FROM processes WHERE expires_at > now()"))
    began = stack.rows("SELECT expires_at FROM processes")[0]["expires_at"]
    wait_until(lambda: stack.rows("SELECT expires_at FROM processes")[0]["expires_at"] > began)
    assert worker.stop() == 0
    assert not stack.rows("SELECT id FROM processes")
