"""The broker's rules that need no socket."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nsq.response import Error

from worker.broker.config import FIRST_RECONNECT
from worker.broker.protocol import error_code, error_words, split
from worker.domain.address import Address, parse_address
from worker.domain.backlog import Backlog
from worker.domain.backoff import backoff
from worker.domain.messages import Message, published_at
from worker.domain.shares import Rotation, spread
from worker.errors import Misconfigured
from worker.settings.model import Settings

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def message(topic: str, body: bytes = b"x") -> Message:
    return Message(topic, body, b"0" * 16, 1, NOW)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:4150", "127.0.0.1", 4150), ("[::1]:4150", "::1", 4150), ("nsqd.internal:1", "nsqd.internal", 1)],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("text", ["", "nsqd", "nsqd:", ":4150", "::1:4150", "nsqd:0", "nsqd:65536", "nsqd:x", "[]:1"])
def test_what_is_no_address_names_the_setting(text: str) -> None:
    with pytest.raises(Misconfigured, match="NSQD_TCP_ADDRESSES"):
        Settings.load(None, {"SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES": f'["{text}"]'})


@given(st.integers(1, 10_000), st.floats(0.05, 60), st.integers())
def test_a_reconnect_waits_some_time_and_never_longer_than_the_maximum(attempt: int, maximum: float, seed: int) -> None:
    assert 0 < backoff(attempt, FIRST_RECONNECT, maximum, random.Random(seed)) <= maximum


@given(st.dictionaries(st.integers(), st.floats(0.01, 1000), min_size=1, max_size=50), st.integers(0, 100_000))
def test_ready_counts_add_up_and_leave_nobody_out(weights: dict[int, float], more: int) -> None:
    total = len(weights) + more
    shares = spread(total, weights, dict.fromkeys(weights, 10**9))
    assert sum(shares.values()) == total
    assert min(shares.values()) >= 1


@given(st.dictionaries(st.integers(), st.floats(0.01, 1000), min_size=1, max_size=50), st.integers(0, 100_000))
def test_no_ready_count_is_above_its_cap(weights: dict[int, float], more: int) -> None:
    assert max(spread(len(weights) + more, weights, dict.fromkeys(weights, 2500)).values()) <= 2500


def test_ready_counts_follow_the_weights() -> None:
    assert spread(1000, {"live": 3, "backfill": 1}, {"live": 2500, "backfill": 2500}) in (
        {"live": 750, "backfill": 250},
        {"live": 749, "backfill": 251},
        {"live": 751, "backfill": 249},
    )


@given(st.integers(1, 5), st.integers(1, 10))
def test_connections_that_take_turns_get_their_weight_in_turns(slots: int, weight: int) -> None:
    weights: dict[int | str, float] = {**dict.fromkeys(range(slots * 2), 1.0), "heavy": float(weight)}
    rotation: Rotation[int | str] = Rotation()
    turns: Counter[int | str] = Counter()
    rounds = 200
    for _ in range(rounds):
        turn = rotation.turn(slots, weights)
        assert len(set(turn)) == slots
        turns.update(turn)
    assert set(turns) == set(weights), "somebody starved"
    light = {turns[name] for name in range(slots * 2)}
    assert max(light) - min(light) <= 2
    assert turns["heavy"] >= min(light) - 2


@given(st.integers(1, 4), st.integers(2, 100), st.integers(0, 400))
def test_a_connection_that_joins_late_has_its_turns_like_the_others(slots: int, weight: int, before: int) -> None:
    """A heavy one can't have more than each turn, however long that lasted: it is owed nothing, and owes nobody."""
    weights: dict[int | str, float] = {**dict.fromkeys(range(slots + 2), 1.0), "heavy": float(weight)}
    rotation: Rotation[int | str] = Rotation()
    for _ in range(before):
        rotation.turn(slots, weights)
    weights["late"] = 1.0
    turns: Counter[int | str] = Counter()
    for _ in range(200):
        turns.update(rotation.turn(slots, weights))
    light = [turns[name] for name in [*range(slots + 2), "late"]]
    assert max(light) - min(light) <= 3


def test_small_batches_keep_the_weights() -> None:
    backlog = Backlog({"live": 3, "backfill": 1})
    for _ in range(100):
        backlog.add(message("live"))
        backlog.add(message("backfill"))
    taken = Counter(backlog.take(1)[0].topic for _ in range(40))
    assert taken == {"live": 30, "backfill": 10}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=60), st.lists(st.integers(0, 20)))
def test_a_backlog_loses_and_invents_nothing_and_fills_every_batch(
    arrivals: list[tuple[str, int]], limits: list[int]
) -> None:
    backlog = Backlog({"a": 5, "b": 2, "c": 1})
    for topic, number in arrivals:
        backlog.add(message(topic, b"%d" % number))
    taken = []
    for limit in [*limits, 1000]:
        before = len(backlog)
        batch = backlog.take(limit)
        assert len(batch) == min(limit, before)
        assert [found.topic for found in batch] == sorted(found.topic for found in batch)
        taken += batch
    for topic in "abc":
        expected = [b"%d" % number for name, number in arrivals if name == topic]
        assert [found.body for found in taken if found.topic == topic] == expected
    assert len(backlog) == 0


WEIGHTS = {"a": 5, "b": 2, "c": 1}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(1, 20)), max_size=80),
    st.sets(st.sampled_from("abc"), min_size=1),
    st.integers(1, 20),
)
def test_whatever_came_before_a_flood_is_shared_by_weight(
    history: list[tuple[str, int, int]], flooding: set[str], limit: int
) -> None:
    backlog = Backlog(WEIGHTS)
    for topic, count, taken in history:
        for _ in range(count):
            backlog.add(message(topic))
        backlog.take(taken)
    backlog.take(len(backlog) - len(flooding))
    for topic in flooding:
        for _ in range(40 * limit):
            backlog.add(message(topic))
    got = Counter(found.topic for _ in range(20) for found in backlog.take(limit))
    whole = sum(WEIGHTS[topic] for topic in flooding)
    for topic in flooding:
        assert abs(got[topic] - 20 * limit * WEIGHTS[topic] / whole) <= 2 * len(WEIGHTS)


@pytest.mark.parametrize(("long", "short"), [("live", "backfill"), ("backfill", "live")])
def test_a_long_flood_of_one_topic_beside_a_trickle_of_the_other_leaves_no_credit(long: str, short: str) -> None:
    backlog = Backlog({"live": 3, "backfill": 1})
    for _ in range(2000):
        for _ in range(50):
            backlog.add(message(long))
        backlog.add(message(short))
        backlog.take(50)
    backlog.take(len(backlog) - 1)
    for _ in range(4000):
        backlog.add(message("live"))
        backlog.add(message("backfill"))
    first = Counter(found.topic for _ in range(10) for found in backlog.take(40))
    assert abs(first["live"] - 300) <= 2


@given(st.lists(st.integers(1, 100), max_size=50), st.integers(50, 300))
def test_frames_stay_within_nsqds_limit_and_keep_the_order(sizes: list[int], limit: int) -> None:
    bodies = [b"x" * size for size in sizes]
    frames = list(split(bodies, limit))
    assert [body for frame in frames for body in frame] == bodies
    assert all(frames)
    assert all(len(frame) == 1 or 4 + sum(4 + len(body) for body in frame) <= limit for frame in frames)


def test_a_message_does_not_show_its_body() -> None:
    assert "ada@example.com" not in repr(message("t", b"ada@example.com"))


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_timestamp_is_a_time(nanoseconds: int) -> None:
    assert published_at(nanoseconds).tzinfo is UTC


def test_nsqds_timestamp_is_nanoseconds_since_1970() -> None:
    expected = datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert published_at(1_700_000_000_123_456_789) == expected


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"E_FIN_FAILED FIN 0123 failed", "E_FIN_FAILED"),
        (b"E_INVALID", "E_INVALID"),
        (b"", "E_UNKNOWN"),
        (b"ada@example.com wrote", "E_UNKNOWN"),
        (b"E_\xff\xfe", "E_UNKNOWN"),
        (b"E_ada@example.com", "E_UNKNOWN"),
    ],
)
def test_an_error_is_known_by_its_code_alone(data: bytes, code: str) -> None:
    assert error_code(Error(None, 1, data)) == code


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"E_BAD_BODY MPUB body too big 11 > 10", "E_BAD_BODY MPUB body too big 11 > 10"),
        (b"E_INVALID RDY count 3000 out of range 0-2500", "E_INVALID RDY count 3000 out of range 0-2500"),
        (b'E_BAD_TOPIC PUB topic name "ada@example.org" is not valid', "E_BAD_TOPIC PUB topic name"),
        (b"E_INVALID invalid command {Ada", "E_INVALID invalid command"),
        (b"E_INVALID invalid command Ada", "E_INVALID invalid command"),
        (b"E_INVALID RDY could not parse count Ada", "E_INVALID RDY could not parse"),
        (b'E_AUTH_ERROR AUTH error Get "http://auth/auth?secret=s3cret": EOF', "E_AUTH_ERROR AUTH error Get"),
        (b"E_PUB_FAILED", "E_PUB_FAILED"),
        (b"E_PUB_FAILED " + b"x" * 5000, "E_PUB_FAILED " + "x" * 120),
        (b"E_BAD_BODY \xff\xfe", "E_BAD_BODY"),
        (b"Ada Lovelace", "E_UNKNOWN"),
        (b"", "E_UNKNOWN"),
    ],
)
def test_nsqds_own_words_are_kept_up_to_where_they_quote(said: bytes, kept: str) -> None:
    assert error_words(Error(None, 1, said)) == kept
