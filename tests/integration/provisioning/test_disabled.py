"""Without STRIPE_SECRET_KEY: billing is disabled, and nothing is lost for the day on which it is not."""

from __future__ import annotations

import signal

import pytest
from structlog.testing import capture_logs

from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import profile, users
from tests.support.waiting import wait_until


def test_without_a_key_the_channel_is_kept_and_with_one_everybody_is_served(new_stack: NewStack) -> None:
    stack = new_stack()
    disabled = stack.start_worker(STRIPE_SECRET_KEY="")
    wait_until(disabled.is_ready)
    stack.publish(*[profile(name) for name in users(5)])
    wait_until(lambda: stack.nsqd.channel(stack.topic, "subkeeper").get("depth") == 5)
    assert disabled.is_healthy()
    assert disabled.stop() == 0
    assert stack.nsqd.channel(stack.topic, "subkeeper")["depth"] == 5
    assert stack.rows("SELECT 1 FROM provisionings") == []
    stack.setup()
    stack.start_worker()
    stack.await_completed(*users(5))
    stack.assert_exactly_one(*users(5))


def test_without_a_key_the_depth_of_the_channel_is_reported(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.nsqd.create_channel(stack.topic, "subkeeper")
    stack.publish(*[profile(name) for name in users(3)])
    disabled = stack.start_worker(STRIPE_SECRET_KEY="")
    wait_until(lambda: disabled.metric("subkeeper_channel_depth", topic=stack.topic) == 3)


def test_the_command_says_once_that_billing_is_disabled_and_needs_neither_schema_nor_database(
    new_stack: NewStack,
) -> None:
    stack = new_stack()
    worker = stack.spawn_worker(STRIPE_SECRET_KEY="", SUBKEEPER_DATABASE__URL="postgresql://nobody@127.0.0.1:1/none")
    wait_until(worker.is_ready)
    stack.publish(profile("ada"))
    worker.send(signal.SIGTERM)
    assert worker.wait(10) == 0
    assert len(worker.logged("billing.disabled")) == 1
    assert worker.logged("billing.disabled")[0]["channel"] == "subkeeper"


@pytest.mark.parametrize(
    ("what", "disabled"),
    [
        ("profiles", ["profiles"]),
        ("events", ["events"]),
        ("poller", ["poller"]),
        ("all", ["profiles", "events", "poller"]),
        ("relay", None),
        ("web", None),
    ],
)
def test_what_needs_a_key_says_once_that_it_is_disabled_and_keeps_its_channel(
    new_stack: NewStack, what: str, disabled: list[str] | None
) -> None:
    stack = new_stack()
    with capture_logs() as lines:
        worker = stack.start_worker(what, STRIPE_SECRET_KEY="")
        wait_until(worker.is_ready)
        assert worker.is_healthy()
        assert worker.stop() == 0
    assert [line["jobs"] for line in lines if line["event"] == "billing.disabled"] == ([disabled] if disabled else [])
    for topic, job in ((stack.topic, "profiles"), (stack.events_topic, "events")):
        assert bool(stack.nsqd.channel(topic, "subkeeper")) == (job in (disabled or []))


def test_a_poller_without_a_key_tells_that_it_is_disabled(new_stack: NewStack) -> None:
    worker = new_stack().start_worker("poller", STRIPE_SECRET_KEY="")
    wait_until(lambda: worker.part("poller") == (True, "disabled: STRIPE_SECRET_KEY is not set"))
