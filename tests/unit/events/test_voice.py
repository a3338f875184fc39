"""What the poller says in `/readyz` is what is so now, not what was so at the last poll."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worker.domain.polling import Allotment
from worker.errors import Unavailable
from worker.events.voice import PART, Voice
from worker.store.event_cursor import Standing
from worker.telemetry import Health, Metrics

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def standing(gap: timedelta | None) -> Standing:
    since = NOW - gap if gap else None
    return Standing(NOW, NOW, NOW, NOW, since, NOW if gap else None, Allotment(10_000))


def test_a_gap_that_is_healed_is_told_no_longer_though_no_poll_is_due() -> None:
    health = Health([PART])
    voice = Voice(health, Metrics("0").polls)
    voice.leads(None)
    voice.standing(standing(timedelta(days=3)))
    assert "can't be had any more" in health.parts()[PART].detail
    voice.standing(standing(None))
    assert health.parts()[PART].detail == "the first poll has not ended yet"


def test_a_poll_that_failed_stays_told_when_a_gap_is_healed() -> None:
    health = Health([PART])
    voice = Voice(health, Metrics("0").polls)
    voice.leads(None)
    voice.standing(standing(timedelta(days=3)))
    voice.failed(Unavailable("nsqd", "gone"), polling=True)
    voice.standing(standing(None))
    assert not health.parts()[PART].ok
