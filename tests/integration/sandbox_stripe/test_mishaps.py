"""Deliveries that go wrong on demand: lost, late, twice, in another order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw
from tests.integration.sandbox_stripe.receiver import Receiver
from tests.support.waiting import wait_until


@pytest.fixture
def receiver(raw: Raw) -> Iterator[Receiver]:
    """An endpoint that takes all events."""
    with Receiver() as receiver:
        raw("POST", "/v1/webhook_endpoints", {"url": receiver.url, "enabled_events[0]": "*"})
        yield receiver


def _made(raw: Raw, count: int = 1) -> list[str]:
    return [raw.post("/v1/customers").body["id"] for _ in range(count)]


def _arrived(receiver: Receiver) -> list[str]:
    return [json.loads(each.body)["data"]["object"]["id"] for each in receiver.taken]


def _undelivered(raw: Raw) -> list[str]:
    listed = raw.get("/v1/events", delivery_success="false").body["data"]
    return [event["data"]["object"]["id"] for event in listed]


@pytest.mark.parametrize(
    ("how", "listed", "after"),
    [({}, True, False), ({"acknowledged": True}, False, False), ({"retried": True}, True, True)],
    ids=["lost", "lost but acknowledged", "lost once"],
)
def test_a_dropped_delivery_is_lost_as_told(
    raw: Raw, control: Control, receiver: Receiver, how: dict[str, Any], listed: bool, after: bool
) -> None:
    control.mishap("drop", times=1, **how)
    lost, kept = _made(raw, 2)
    wait_until(lambda: _arrived(receiver) == [kept])
    assert _undelivered(raw) == ([lost] if listed else [])
    control.jump(11 * 60)
    wait_until(lambda: len(control.deliveries()) == (3 if after else 2))
    assert (lost in _arrived(receiver)) is after


def test_a_delivery_is_duplicated(raw: Raw, control: Control, receiver: Receiver) -> None:
    control.mishap("duplicate", copies=3, ms=5, match={"type": "customer.*"}, times=1)
    (once,) = _made(raw)
    wait_until(lambda: _arrived(receiver) == [once] * 3)
    wait_until(lambda: len(control.deliveries()) == 3)
    assert {row["attempt"] for row in control.deliveries()} == {1}
    assert _undelivered(raw) == []


def test_what_is_held_leaves_in_another_order(raw: Raw, control: Control, receiver: Receiver) -> None:
    control.webhooks(at_once=1)
    control.mishap("reorder", held=4, ms=60_000)
    made = _made(raw, 4)
    wait_until(lambda: _arrived(receiver) == made[::-1])


def test_what_is_held_alone_leaves_after_its_time(raw: Raw, control: Control, receiver: Receiver) -> None:
    control.mishap("reorder", held=4, ms=100, order="shuffle")
    made = _made(raw, 2)
    wait_until(lambda: sorted(_arrived(receiver)) == sorted(made))


def test_a_delayed_delivery_is_overtaken(raw: Raw, control: Control, receiver: Receiver) -> None:
    control.mishap("delay", low=200, high=300, times=1)
    late, early = _made(raw, 2)
    wait_until(lambda: _arrived(receiver) == [early, late])
    assert [row["mishaps"] for row in control.deliveries()] == [[], ["delay"]]


def test_a_mishap_meets_the_object_that_it_names(raw: Raw, control: Control, receiver: Receiver) -> None:
    (first,) = _made(raw)
    control.mishap("drop", match={"object": first})
    (second,) = _made(raw)
    raw.post(f"/v1/customers/{first}", name="A")
    raw.post(f"/v1/customers/{second}", name="B")
    wait_until(lambda: len(control.deliveries()) == 4)
    assert sorted(_arrived(receiver)) == sorted([first, second, second])
    control.clear_mishaps()
    raw.post(f"/v1/customers/{first}", name="C")
    wait_until(lambda: _arrived(receiver).count(first) == 2)


@pytest.mark.parametrize(
    "rule", [{"kind": "explode"}, {"kind": "drop", "how": "loud"}, {"kind": "reorder", "order": "x"}]
)
def test_an_unknown_mishap_is_refused(control: Control, rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"mishap|reordering"):
        control.mishap(**rule)
