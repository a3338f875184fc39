"""The loop that absorbs, against a real nsqd: what is committed before what is finished, and what is told of it.

The database's part is the test's: `Batches` is asked to prepare and commit, and fails as it is told to.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import structlog

from sandbox.nsq import Nsqd
from tests.conftest import NewNsqd
from tests.integration.broker.conftest import CHANNEL, NewReader, is_whole, ready, receive, settings_for, until
from tests.support.waiting import wait_until
from worker.broker.consumer import CONNECTING_TIMEOUT, FIRST_PAUSE, READ_TIMEOUT, Commit, Consumer
from worker.broker.reader import Reader
from worker.domain.lanes import Lane
from worker.domain.messages import Absorbed, Message
from worker.errors import Contended, SubkeeperError, TryLater, Unavailable, Unforeseen
from worker.telemetry import Health, Metrics, Watchdog

AWAY = Unavailable("postgres", "nobody listens there")
PATIENCE = 60.0


class Batches:
    """Commits what it is given; by `script`, attempt for attempt, it first fails so or waits for that to be set."""

    def __init__(self) -> None:
        self.script: deque[Exception | threading.Event] = deque()
        self.gate = threading.Event()
        self.held: Callable[[Message], bool] = lambda _: False
        self.prepared: list[list[bytes]] = []
        self.attempted: list[str] = []
        self.attempted_at: list[float] = []
        self.committed: list[list[bytes]] = []
        self.by: list[str] = []

    def prepare(self, messages: Sequence[Message]) -> Commit:
        self.prepared.append(bodies(messages))
        return lambda: self._commit(messages, "whole")

    def absorb_apart(self, messages: Sequence[Message]) -> Absorbed:
        return self._commit(messages, "apart")

    def _commit(self, messages: Sequence[Message], how: str) -> Absorbed:
        self.attempted.append(how)
        self.attempted_at.append(time.monotonic())
        self.by.append(threading.current_thread().name)
        step = self.script.popleft() if self.script else None
        if isinstance(step, Exception):
            raise step
        assert step is None or step.wait(10), "the gate stayed shut"
        self.committed.append(bodies(messages))
        held = [message for message in messages if self.held(message)]
        counts = Counter((each.topic, "requeued" if each in held else "new") for each in messages)
        return Absorbed(counts, held)


def bodies(messages: Sequence[Message]) -> list[bytes]:
    return [message.body for message in messages]


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


class Absorbing:
    """A consumer, and what it told."""

    def __init__(
        self, reader: Reader, topic: str, rng: random.Random, batch: int, gather: float, committers: int = 1
    ) -> None:
        self.batches = Batches()
        self.metrics = Metrics("0", topics={topic: Lane.LIVE})
        self.told: list[tuple[str, bool, str]] = []
        self.seconds = 0.0
        self.health = Health()
        self.watchdog = Watchdog(self.health, patience=PATIENCE, clock=lambda: self.seconds)
        self.reader = reader
        self.consumer = Consumer(
            reader,
            self.batches.prepare,
            self.batches.absorb_apart,
            self.metrics,
            batch=batch,
            rng=rng,
            report=lambda *said: self.told.append(said),
            watchdog=self.watchdog,
            gather=gather,
            committers=committers,
        )

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        thread = threading.Thread(target=self.consumer.run, name="absorber")
        thread.start()
        try:
            yield thread
        finally:
            self.consumer.stop()
            self.batches.gate.set()
            thread.join(10)
            assert not thread.is_alive()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"subkeeper_{name}", labels)

    def of(self, part: str) -> list[tuple[bool, str]]:
        """What was told of it, without repetitions."""
        said = [(ok, text) for each, ok, text in self.told if each == part]
        return [now for before, now in zip([None, *said], said, strict=False) if now != before]


NewAbsorbing = Callable[..., Absorbing]


@pytest.fixture
def new_absorbing(nsqd: Nsqd, topic: str, new_reader: NewReader, rng: random.Random) -> NewAbsorbing:
    def start(
        *bodies: bytes, batch: int = 500, connected: bool = True, gather: float = 0.0, committers: int = 1
    ) -> Absorbing:
        """Its reader is connected, and `bodies` are at nsqd."""
        nsqd.create_channel(topic, CHANNEL)
        if bodies:
            nsqd.publish(topic, *bodies)
        reader = new_reader(settings_for(nsqd.tcp_address), topic)
        if connected:
            until(lambda: is_whole(reader), reader)
        return Absorbing(reader, topic, rng, batch, gather, committers)

    return start


def at_nsqd(nsqd: Nsqd, topic: str, what: str) -> int:
    count: int = nsqd.channel(topic, CHANNEL)[what]
    return count


# Committed, then finished


def test_what_is_committed_is_finished_and_counted(nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(b"a", b"b", b"c")
    with absorbing.running():
        wait_until(lambda: absorbing.metric("messages_total", topic=topic, outcome="new") == 3)
        wait_until(lambda: at_nsqd(nsqd, topic, "in_flight_count") + at_nsqd(nsqd, topic, "depth") == 0)
    assert sorted(itertools.chain(*absorbing.batches.committed)) == [b"a", b"b", b"c"]
    assert absorbing.metric("batch_messages_sum") == 3
    assert absorbing.metric("batch_seconds_count") == absorbing.metric("batch_messages_count")
    assert 0 <= (absorbing.metric("batch_seconds_sum") or 0.0) < 60
    assert absorbing.metric("publish_to_persisted_seconds_count") == 3
    assert 0 < (absorbing.metric("publish_to_persisted_seconds_sum") or 0.0) < 60
    assert absorbing.metric("batch_retries_total") == 0
    assert absorbing.reader.counts.finished == 3


def test_nothing_is_finished_before_it_is_committed(nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(*numbered(60))
    until(lambda: absorbing.reader.counts.received == 60, absorbing.reader)
    absorbing.batches.script.append(absorbing.batches.gate)
    with absorbing.running():
        wait_until(lambda: absorbing.batches.attempted)
        assert at_nsqd(nsqd, topic, "in_flight_count") == 60
        assert absorbing.reader.counts.finished == 0
        absorbing.batches.gate.set()
        wait_until(lambda: absorbing.reader.counts.finished == 60)


def test_a_batch_has_at_most_so_many_messages(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(*numbered(7), batch=3)
    until(lambda: absorbing.reader.counts.received == 7, absorbing.reader)
    with absorbing.running():
        wait_until(lambda: sum(map(len, absorbing.batches.committed)) == 7)
    assert max(map(len, absorbing.batches.prepared)) == 3


def test_what_comes_alone_is_taken_at_once_and_what_follows_it_together(
    nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing
) -> None:
    absorbing = new_absorbing(b"alone", gather=1.0)
    committed = absorbing.batches.committed

    def come_together() -> bool:
        """Unless publishing them takes a second on this machine."""
        begin = len(committed)
        for number in range(8):
            nsqd.publish(topic, b"%d" % number)
        wait_until(lambda: sum(map(len, committed[begin:])) == 8)
        return sorted(committed[begin]) == numbered(8)

    with absorbing.running():
        wait_until(lambda: committed)
        assert committed == [[b"alone"]]
        wait_until(come_together)


@pytest.mark.parametrize("batch", [2, 60])
def test_behind_a_full_batch_nothing_is_waited_for(batch: int, new_absorbing: NewAbsorbing) -> None:
    """Whether it is committed where it was read or on another thread."""
    absorbing = new_absorbing(*numbered(3 * batch), batch=batch, gather=1000.0)
    until(lambda: absorbing.reader.counts.received == 3 * batch, absorbing.reader)
    with absorbing.running():
        wait_until(lambda: sum(map(len, absorbing.batches.committed)) == 3 * batch)


def test_a_stop_ends_the_gathering(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(b"alone", gather=1000.0)
    with absorbing.running() as thread:
        wait_until(lambda: absorbing.reader.counts.finished == 1)
        absorbing.consumer.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_who_gathers_for_long_keeps_its_connections_and_does_not_spin(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader, rng: random.Random
) -> None:
    """Connected or not: each look at the connections takes the time that a read may wait."""
    nsqd = new_nsqd()
    nsqd.publish(topic, b"alone")
    absorbing = Absorbing(new_reader(settings_for(nsqd.tcp_address), topic), topic, rng, batch=500, gather=1000.0)

    def looks() -> int:
        return sum(part == "nsqd" for part, _, _ in absorbing.told)

    with absorbing.running():
        wait_until(lambda: absorbing.reader.counts.finished == 1)
        nsqd.stop()
        wait_until(lambda: not absorbing.of("nsqd")[-1][0], what="it is told")
        before, began = looks(), time.monotonic()
        wait_until(lambda: looks() > before + 5)
        assert looks() - before <= 10 + (time.monotonic() - began) / CONNECTING_TIMEOUT
    assert absorbing.batches.committed == [[b"alone"]]


def test_a_large_batch_is_committed_on_another_thread_while_the_next_one_is_prepared(
    new_absorbing: NewAbsorbing,
) -> None:
    absorbing = new_absorbing(*numbered(100), batch=50)
    absorbing.batches.script.append(absorbing.batches.gate)
    until(lambda: absorbing.reader.counts.received == 100, absorbing.reader)
    with absorbing.running():
        wait_until(lambda: len(absorbing.batches.prepared) == 2)
        assert absorbing.batches.committed == []
        absorbing.batches.gate.set()
        wait_until(lambda: len(absorbing.batches.committed) == 2)
    assert absorbing.batches.committed == absorbing.batches.prepared
    assert {name.split("_")[0] for name in absorbing.batches.by} == {"committer"}


def test_a_small_batch_is_committed_where_it_was_read_and_the_next_one_waits(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(*numbered(98), batch=49)
    absorbing.batches.script.append(absorbing.batches.gate)
    until(lambda: absorbing.reader.counts.received == 98, absorbing.reader)
    with absorbing.running():
        wait_until(lambda: absorbing.batches.attempted)
        assert len(absorbing.batches.prepared) == 1
        absorbing.batches.gate.set()
        wait_until(lambda: len(absorbing.batches.committed) == 2)
    assert set(absorbing.batches.by) == {"absorber"}


# Two that commit


def test_two_batches_are_committed_at_a_time_while_the_one_after_them_is_prepared(
    new_absorbing: NewAbsorbing,
) -> None:
    absorbing = new_absorbing(*numbered(200), batch=50, committers=2)
    absorbing.batches.script.extend([absorbing.batches.gate] * 2)
    until(lambda: absorbing.reader.counts.received == 200, absorbing.reader)
    with absorbing.running():
        wait_until(lambda: len(absorbing.batches.prepared) == 3)
        wait_until(lambda: len(absorbing.batches.attempted) == 2)
        assert (absorbing.batches.committed, absorbing.reader.counts.finished) == ([], 0)
        absorbing.batches.gate.set()
        wait_until(lambda: absorbing.reader.counts.finished == 200)
    assert sorted(absorbing.batches.committed) == sorted(absorbing.batches.prepared)
    assert len(absorbing.batches.attempted) == 4


def test_of_two_batches_the_one_that_fails_alone_is_committed_again(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(*numbered(150), batch=50, committers=2)
    absorbing.batches.script.extend([AWAY, absorbing.batches.gate])
    until(lambda: absorbing.reader.counts.received == 150, absorbing.reader)
    with absorbing.running():
        wait_until(lambda: len(absorbing.batches.attempted) >= 2)
        absorbing.batches.gate.set()
        wait_until(lambda: absorbing.reader.counts.finished == 150)
    assert len(absorbing.batches.attempted) == 4
    assert sorted(body for batch in absorbing.batches.committed for body in batch) == sorted(numbered(150))


def test_when_it_stops_all_that_is_being_committed_is_finished(
    nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing
) -> None:
    absorbing = new_absorbing(*numbered(150), batch=50, committers=2)
    absorbing.batches.script.extend([absorbing.batches.gate] * 2)
    until(lambda: absorbing.reader.counts.received == 150, absorbing.reader)
    with absorbing.running() as thread:
        wait_until(lambda: len(absorbing.batches.attempted) == 2 and len(absorbing.batches.prepared) == 3)
        absorbing.consumer.stop()
        absorbing.batches.gate.set()
        thread.join(10)
    assert absorbing.reader.counts.finished == 100
    wait_until(lambda: at_nsqd(nsqd, topic, "depth") == 50)


# What cannot be committed


def test_a_batch_that_fails_once_is_prepared_and_committed_again_and_nobody_is_told(
    nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing
) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.append(AWAY)
    with structlog.testing.capture_logs() as logs, absorbing.running():
        wait_until(lambda: absorbing.reader.counts.finished == 1)
        wait_until(lambda: ready(nsqd, topic) > 0)
    assert absorbing.batches.prepared == [[b"a"], [b"a"]]
    assert absorbing.of("absorbing") == [(True, "")]
    assert absorbing.metric("batch_retries_total") == 0
    assert [line for line in logs if line["event"] == "batch.refused"] == []


def test_a_batch_that_fails_again_is_told_of_until_it_is_committed(
    nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing
) -> None:
    absorbing = new_absorbing(b"a", b"b")
    until(lambda: absorbing.reader.counts.received == 2, absorbing.reader)
    absorbing.batches.script.extend([AWAY, AWAY, AWAY, absorbing.batches.gate])
    with absorbing.running():
        wait_until(lambda: len(absorbing.batches.attempted) == 4)
        wait_until(lambda: ready(nsqd, topic) == 0)
        wait_until(lambda: absorbing.metric("batch_in_hand_seconds"))
        absorbing.batches.gate.set()
        wait_until(lambda: absorbing.reader.counts.finished == 2)
        assert absorbing.metric("batch_in_hand_seconds") == 0
        wait_until(lambda: ready(nsqd, topic) > 0)
    said = "2 messages in hand cannot be committed: postgres is unavailable: nobody listens there"
    assert absorbing.of("absorbing") == [(True, ""), (False, said), (True, "")]
    assert absorbing.metric("batch_retries_total") == 2
    assert absorbing.batches.attempted == ["whole"] * 4
    assert 0.05 < (absorbing.metric("batch_seconds_sum") or 0.0) < 60


def test_the_age_of_a_batch_in_hand_grows_while_an_attempt_is_under_way_and_heartbeats_are_answered(
    new_absorbing: NewAbsorbing,
) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.extend([AWAY, absorbing.batches.gate])
    with absorbing.running():
        wait_until(lambda: (absorbing.metric("batch_in_hand_seconds") or 0.0) > 2.5)  # two heartbeats, of a second
        assert len(absorbing.batches.attempted) == 2
        absorbing.batches.gate.set()
        wait_until(lambda: absorbing.reader.counts.finished == 1)
    assert (absorbing.reader.counts.disconnects.total(), absorbing.reader.counts.redelivered) == (0, 0)


def test_it_is_tried_again_less_and_less_often(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.extend([AWAY] * 6)
    with absorbing.running():
        wait_until(lambda: absorbing.reader.counts.finished == 1)
    pauses = [later - before for before, later in itertools.pairwise(absorbing.batches.attempted_at)]
    least = [FIRST_PAUSE * 2**number / 2 for number in range(6)]
    assert [pause >= each for pause, each in zip(pauses, least, strict=True)] == [True] * 6, pauses


@pytest.mark.parametrize("error", [ValueError("Ada"), Unforeseen("a column is gone")], ids=["foreign", "ours"])
def test_what_nobody_foresaw_is_logged_once_with_its_size(error: Exception, new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.extend([error] * 3)
    with structlog.testing.capture_logs() as logs, absorbing.running():
        wait_until(lambda: absorbing.reader.counts.finished == 1)
    [refused] = [line for line in logs if line["event"] == "batch.refused"]
    assert (refused["log_level"], refused["messages"], refused["exc_info"]) == ("critical", 1, error)
    [said] = [text for ok, text in absorbing.of("absorbing") if not ok]
    reason = str(error) if isinstance(error, SubkeeperError) else "ValueError, which nobody foresaw"
    assert said == f"1 messages in hand cannot be committed: {reason}"


def test_what_meets_a_lock_is_absorbed_apart_at_every_other_attempt(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.extend([Contended("55P03")] * 4)
    with absorbing.running():
        wait_until(lambda: absorbing.reader.counts.finished == 1)
    assert absorbing.batches.attempted == ["whole", "apart", "whole", "apart", "whole"]


def test_what_is_absorbed_apart_is_finished(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.append(Contended("55P03"))
    with absorbing.running():
        wait_until(lambda: absorbing.reader.counts.finished == 1)
    assert (absorbing.batches.attempted, absorbing.batches.committed) == (["whole", "apart"], [[b"a"]])


def test_only_a_lock_is_a_reason_to_absorb_apart(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.extend([TryLater("40001"), Contended("55P03"), AWAY])
    with absorbing.running():
        wait_until(lambda: absorbing.reader.counts.finished == 1)
    assert absorbing.batches.attempted == ["whole", "whole", "apart", "whole"]


def test_what_was_prepared_before_an_outage_is_prepared_anew_after_it(new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(*numbered(100), batch=50)
    until(lambda: absorbing.reader.counts.received == 100, absorbing.reader)
    absorbing.batches.script.append(AWAY)
    with structlog.testing.capture_logs() as logs, absorbing.running():
        wait_until(lambda: absorbing.reader.counts.finished == 100)
    assert [line for line in logs if line["event"] == "batch.refused"] == []
    first, second = numbered(100)[:50], numbered(100)[50:]
    assert absorbing.batches.prepared == [first, second, first, second]
    assert absorbing.batches.committed == [first, second]


# What somebody holds


@pytest.mark.parametrize(("deliveries", "seconds"), [(1, 5.0), (2, 10.0), (4, 40.0), (5, 60.0), (6, 60.0)])
def test_what_somebody_holds_goes_back_for_longer_each_time_and_the_rest_is_finished(
    deliveries: int, seconds: float, nsqd: Nsqd, topic: str, new_reader: NewReader, new_absorbing: NewAbsorbing
) -> None:
    nsqd.publish(topic, b"held")
    before = new_reader(settings_for(nsqd.tcp_address), topic)
    for _ in range(deliveries - 1):
        before.resume()
        held = receive(before, 1, finish=False)
        before.pause()
        before.requeue(held)
    before.close(1.0)
    absorbing = new_absorbing(b"a", b"b")
    until(lambda: absorbing.reader.counts.received == 3, absorbing.reader)
    absorbing.batches.held = lambda message: message.body == b"held"
    with structlog.testing.capture_logs() as logs, absorbing.running():
        wait_until(lambda: absorbing.metric("messages_total", topic=topic, outcome="requeued") == 1)
        wait_until(lambda: at_nsqd(nsqd, topic, "deferred_count") == 1)
        wait_until(lambda: at_nsqd(nsqd, topic, "in_flight_count") == 0)
    assert absorbing.reader.counts.finished == 2
    assert absorbing.metric("publish_to_persisted_seconds_count") == 2
    assert absorbing.metric("batch_messages_sum") == 3
    [line] = [line for line in logs if line["event"] == "message.requeued"]
    assert (line["log_level"], line["messages"], line["seconds"]) == ("warning", 1, seconds)


# Its beginning and its end


def test_before_it_runs_it_keeps_its_subscriptions_and_takes_nothing(
    nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing
) -> None:
    absorbing = new_absorbing(b"a", connected=False)
    began = time.monotonic()
    absorbing.consumer.wait(0.3)
    assert time.monotonic() - began >= 0.3
    while not absorbing.reader.connected:  # or the test's time is up
        absorbing.consumer.wait(0.1)
    absorbing.consumer.wait(0.1)
    assert absorbing.of("nsqd")[-1] == (True, "1 of 1 connections")
    assert ready(nsqd, topic) == 0
    assert absorbing.batches.prepared == []
    with absorbing.running():
        wait_until(lambda: absorbing.batches.committed == [[b"a"]])


def test_one_that_never_ran_closes_its_connections(nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing()
    assert absorbing.reader.links.connected == 1
    absorbing.consumer.close()
    assert absorbing.reader.links.connected == 0
    wait_until(lambda: at_nsqd(nsqd, topic, "client_count") == 0)


def test_one_that_ran_leaves_closing_to_run(nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.append(absorbing.batches.gate)
    with absorbing.running():
        wait_until(lambda: absorbing.batches.attempted)
        absorbing.consumer.close()
        assert absorbing.reader.links.connected == 1
        absorbing.batches.gate.set()
        wait_until(lambda: absorbing.reader.counts.finished == 1)
    wait_until(lambda: at_nsqd(nsqd, topic, "client_count") == 0)


def test_it_stops_after_the_batch_in_hand_and_gives_back_what_it_prepared_meanwhile(
    nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing
) -> None:
    absorbing = new_absorbing(*numbered(100), batch=50)
    until(lambda: absorbing.reader.counts.received == 100, absorbing.reader)
    absorbing.batches.script.append(absorbing.batches.gate)
    with absorbing.running() as thread:
        wait_until(lambda: len(absorbing.batches.prepared) == 2)
        absorbing.consumer.stop()
        absorbing.batches.gate.set()
        thread.join(10)
    assert absorbing.batches.committed == [numbered(50)]
    assert absorbing.reader.counts.finished == 50
    wait_until(lambda: at_nsqd(nsqd, topic, "depth") == 50)


def test_a_batch_that_cannot_be_committed_is_given_back_when_it_stops(
    nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing
) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.extend([AWAY] * 100)
    with absorbing.running():
        wait_until(lambda: len(absorbing.batches.attempted) >= 3)
    assert absorbing.reader.counts.finished == 0
    wait_until(lambda: at_nsqd(nsqd, topic, "depth") == 1)
    assert absorbing.metric("batch_messages_count") == 0


# Nobody waits for a read: of several times the shortest counts, since the machine may have other work


def test_a_stop_ends_the_wait_for_messages(new_absorbing: NewAbsorbing) -> None:
    def seconds() -> float:
        absorbing = new_absorbing()
        with absorbing.running() as thread:
            wait_until(lambda: absorbing.told)
            began = time.monotonic()
            absorbing.consumer.stop()
            thread.join(10)
            return time.monotonic() - began

    assert min(seconds() for _ in range(3)) < READ_TIMEOUT / 2


def test_a_stop_ends_the_pause_of_a_batch_that_cannot_be_committed(new_absorbing: NewAbsorbing) -> None:
    def seconds() -> float:
        absorbing = new_absorbing(b"a")
        absorbing.batches.script.extend([AWAY] * 100)
        with absorbing.running() as thread:
            wait_until(lambda: len(absorbing.batches.attempted) == 6)  # 0.8 s follow at least
            began = time.monotonic()
            absorbing.consumer.stop()
            thread.join(10)
            return time.monotonic() - began

    assert min(seconds() for _ in range(3)) < FIRST_PAUSE * 2**5 / 4


@pytest.mark.parametrize("size", [1, 60])
@pytest.mark.parametrize("fails", [[], [AWAY]], ids=["at once", "at the second attempt"])
def test_a_batch_is_finished_when_it_is_committed_whether_others_follow_or_not(
    fails: list[Exception], size: int, new_absorbing: NewAbsorbing
) -> None:
    def seconds() -> float:
        absorbing = new_absorbing(*numbered(size))
        until(lambda: absorbing.reader.counts.received == size, absorbing.reader)
        absorbing.batches.script.extend([*fails, absorbing.batches.gate])
        with absorbing.running():
            wait_until(lambda: len(absorbing.batches.attempted) == len(fails) + 1)
            began = time.monotonic()
            absorbing.batches.gate.set()
            wait_until(lambda: absorbing.reader.counts.finished == size, interval=0.005)
            return time.monotonic() - began

    assert min(seconds() for _ in range(3)) < READ_TIMEOUT / 2


# What is told meanwhile


def test_nsqds_that_cannot_be_reached_are_named_up_to_three(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader, rng: random.Random
) -> None:
    nsqd = new_nsqd()
    reader = new_reader(settings_for(nsqd.tcp_address, *(f"127.0.0.1:{port}" for port in (1, 2, 3, 4))), topic)
    absorbing = Absorbing(reader, topic, rng, batch=500, gather=0.0)
    with absorbing.running():
        wait_until(lambda: absorbing.of("nsqd") and absorbing.of("nsqd")[-1][0])
        wait_until(lambda: absorbing.of("nsqd")[-1][1].count("; ") == 3)
        assert absorbing.of("nsqd")[-1][1].startswith("1 of 5 connections; 127.0.0.1:1: ")
        assert absorbing.metric("nsqd_links", state="wanted") == 5
        assert absorbing.metric("nsqd_links", state="connected") == 1
        nsqd.stop()
        wait_until(lambda: not absorbing.of("nsqd")[-1][0])
        assert absorbing.of("nsqd")[-1][1].startswith("0 of 5 connections; ")


def test_a_commit_that_hangs_is_seen_by_the_watchdog_and_waiting_for_messages_is_not(
    nsqd: Nsqd, topic: str, new_absorbing: NewAbsorbing
) -> None:
    absorbing = new_absorbing(b"a")
    absorbing.batches.script.append(absorbing.batches.gate)

    def looked_well() -> bool:
        absorbing.watchdog.look()
        return absorbing.health.is_ready()

    with absorbing.running():
        wait_until(lambda: absorbing.batches.attempted)
        absorbing.seconds = PATIENCE + 1
        absorbing.watchdog.look()
        assert not absorbing.health.is_ready()
        absorbing.batches.gate.set()
        nsqd.publish(topic, b"b")
        wait_until(lambda: len(absorbing.batches.committed) == 2)
        absorbing.watchdog.look()
        assert absorbing.health.is_ready()
        absorbing.seconds += PATIENCE + 1
        wait_until(looked_well)
    absorbing.seconds *= 10
    absorbing.watchdog.look()
    assert absorbing.health.is_ready(), "a thread that has ended has no work"
