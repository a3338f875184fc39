"""A batch is sorted out: each event once, what is known unread, and what is none set aside."""

from __future__ import annotations

from datetime import UTC, datetime

from worker.domain.event import Event
from worker.domain.messages import Message
from worker.events.envelope import Envelopes
from worker.events.heard import MOST_WAITS_FOR_A_KEY, Heard
from worker.sealing import Sealer

NOW = datetime(2026, 11, 1, tzinfo=UTC)
OURS, OTHERS = Envelopes(Sealer(["o" * 32])), Envelopes(Sealer(["x" * 32]))
UNREADABLE = b'{"id":"evt_9","type":"customer.updated","created":7,"but":"another release says it otherwise"}'


def message(body: bytes, number: int = 0, attempts: int = 1) -> Message:
    return Message("stripe_events", body, b"%016d" % number, attempts, NOW)


def sealed(event_id: str, envelopes: Envelopes = OURS) -> bytes:
    return envelopes.seal(Event(event_id, "customer.updated", NOW, None, False, "poll", {"id": "cus_1"}, {}))


def heard(*batch: Message) -> Heard:
    return Heard(batch, OURS, lambda _lookup_key: None)


def test_an_event_that_came_twice_is_one_by_its_first_message() -> None:
    first, second = message(sealed("evt_1"), 1), message(sealed("evt_1"), 2, attempts=5)
    found = heard(first, second)
    assert found.created == {"evt_1": int(NOW.timestamp())}
    assert found.firsts == {"evt_1": first}
    assert [each.event.id for each in found.read()] == ["evt_1"]


def test_what_is_known_is_not_read_and_so_not_refused_for_what_it_says() -> None:
    signed = Sealer(["o" * 32]).sign(UNREADABLE) + b"." + UNREADABLE
    found = heard(message(signed), message(sealed("evt_1")))
    assert [each.event.id for each in found.read({"evt_9"})] == ["evt_1"]
    assert found.refused == []


def test_what_cannot_be_read_once_it_is_new_is_refused_and_the_others_are_read() -> None:
    signed = Sealer(["o" * 32]).sign(UNREADABLE) + b"." + UNREADABLE
    found = heard(message(signed), message(sealed("evt_1")))
    assert [each.event.id for each in found.read()] == ["evt_1"]
    assert [refusal.reason for _, refusal in found.refused] == ["envelope_malformed"]
    assert list(found.events) == ["evt_1"]


def test_a_key_that_may_yet_come_is_waited_for_and_then_set_aside() -> None:
    early, late = (
        message(sealed("evt_1", OTHERS), attempts=attempts)
        for attempts in (MOST_WAITS_FOR_A_KEY - 1, MOST_WAITS_FOR_A_KEY)
    )
    found = heard(early, late)
    assert found.keyless == [early]
    assert [(each, refusal.reason) for each, refusal in found.refused] == [(late, "envelope_key_unknown")]
