"""What Subkeeper counts, for Prometheus. Base units; labels with few values, never a person.

docs/metrics.md has the list (a test compares the two).
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import generate_latest

from worker.domain.lanes import Lane
from worker.telemetry import labels
from worker.telemetry.account_changes import AccountChanges
from worker.telemetry.change_metrics import ChangeMetrics
from worker.telemetry.charges import Charges
from worker.telemetry.counts import BrokerCounters, BrokerCounts, LogCounter
from worker.telemetry.health import Health
from worker.telemetry.polls import Polls
from worker.telemetry.readings import Parts
from worker.telemetry.refreshes import Refreshes
from worker.telemetry.registry import Registry
from worker.telemetry.stream import LOSSES
from worker.telemetry.webhook import WebhookMetrics

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CALL = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)
_LONG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000)


EVENTS = "events"


def _name(lane: Lane) -> str:
    return lane.name.lower()


_LANES = tuple(map(_name, Lane))


class Metrics(ChangeMetrics):
    """All metrics of one process, on a registry of their own. Every method is safe from any thread.

    `broker` is written by the thread that reads profiles, `events_broker` by the one that reads events.
    """

    def __init__(
        self, version: str, health: Health | None = None, topics: Mapping[str, Lane | None] | None = None
    ) -> None:
        """`health` is rendered too, part by part. `topics`: those that are read, each with the lane it feeds (None: it
        holds Stripe's events)."""
        self.registry = Registry()
        self.broker, self.events_broker = BrokerCounts(), BrokerCounts()
        self._each_links: dict[str, tuple[int, int]] = {}
        self._each_in_hand: dict[str, float] = {}
        self._health = health or Health()
        self._lanes = {topic: EVENTS if lane is None else _name(lane) for topic, lane in (topics or {}).items()}
        self._about_the_process(version)
        self._about_absorbing()
        self._about_settling()
        self._about_stripe()
        self._about_events()
        self._about_changes()
        self.webhook = WebhookMetrics(self.registry)

    def _about_the_process(self, version: str) -> None:
        r = self.registry
        Parts(self._health, r)
        LogCounter(LOSSES, r)
        self._threads = r.gauge("threads_alive", "Threads of ours that are running")
        r.gauge("build_info", "Always 1; the version is in the label", {"version": [version]}).labels(version).set(1)

    def _about_absorbing(self) -> None:
        r = self.registry
        outcomes = {"topic": self._lanes, "outcome": labels.MESSAGE_OUTCOMES}
        self._messages = r.counter("messages", "Messages taken from NSQ, by what became of them", outcomes)
        self._batch_size = r.histogram("batch_messages", "Messages absorbed in one transaction", _SIZES)
        self._batch_seconds = r.histogram("batch_seconds", "Time to absorb one batch, commit included", _FAST)
        self._retries = r.counter("batch_retries", "Attempts to commit a batch again that failed")
        self._in_hand = r.gauge("batch_in_hand_seconds", "Age of the batch that cannot be committed; 0: none")
        self._persisted = r.histogram("publish_to_persisted_seconds", "From nsqd's timestamp to our commit", _LONG)
        self._newly_found = r.counter("newly_found", "Profiles that only a backfill brought to us; alert on it")
        self._links = r.reading("nsqd_links", "One for each topic on each nsqd: how many should be, and are", "state")
        self._clock_skew = r.reading("clock_skew_seconds", "How far a clock is ahead of what most clocks tell", "clock")
        text = "Messages waiting in our channel, at all nsqds that tell"
        self._channel_depth = r.reading("channel_depth", text, "topic", "lane")
        BrokerCounters([self.broker, self.events_broker], r)

    def _about_settling(self) -> None:
        r = self.registry
        outcomes = {"lane": _LANES, "outcome": labels.SETTLE_OUTCOMES}
        self._settled = r.histogram("settle_seconds", "From leasing a profile to its step's commit", _CALL, outcomes)
        self._leases_lost = r.counter("leases_lost", "Results discarded because another process held the lease")
        reasons = {"reason": labels.QUARANTINE_REASONS}
        self._quarantined = r.counter("quarantined", "Profiles and messages put into quarantine", reasons)
        self._in_quarantine = r.reading("in_quarantine", "What waits in quarantine for a person", "kind")
        self._depth = r.reading("queue_depth", "Unsettled profiles", "lane")
        self._age = r.reading("queue_oldest_age_seconds", "Age of the oldest unsettled profile of a lane", "lane")
        text = "Age of the oldest profile that waits, backfills apart; 0: none"
        self._oldest = r.reading("oldest_unsettled_seconds", text)
        text = "Unsettled profiles sealed under a key that is not ours"
        self._unopenable = r.reading("unopenable_profiles", text)
        halted = r.gauge("settling_halted", "1 while settling is halted until a person acts, else 0")
        halted.set_function(lambda: self._health.is_failing("stripe"))

    def _about_stripe(self) -> None:
        r = self.registry
        operations = {"operation": labels.STRIPE_OPERATIONS}
        outcomes = {**operations, "outcome": labels.STRIPE_OUTCOMES}
        self._calls = r.counter("stripe_calls", "Requests to Stripe", outcomes)
        self._call_seconds = r.histogram("stripe_call_seconds", "Time of one request to Stripe", _CALL, operations)
        lanes = {"lane": _LANES}
        self._waits = r.histogram("limiter_wait_seconds", "Time a request waited for the rate limit", _FAST, lanes)
        rates = {"scope": ["account"]}
        self._rate = r.gauge("limiter_rate_per_second", "Requests per second the limiter allows now", rates)
        self._processes = r.reading("processes", "Processes that share Stripe's rate, this one included")

    def _about_events(self) -> None:
        r = self.registry
        self.polls = Polls(r)
        text = "Stripe's events, by what became of them"
        self._events = r.counter("stripe_events", text, {"outcome": labels.EVENT_OUTCOMES})
        self.refreshes = Refreshes(r, _CALL)
        self.account_changes = AccountChanges(r, _CALL)
        self.charges = Charges(r, _CALL)

    def events(self, outcome: str, count: int) -> None:
        """`count` events ended as `outcome` (`labels.EVENT_OUTCOMES`)."""
        self._events.labels(outcome).inc(count)

    def messages(self, topic: str, outcome: str, count: int = 1) -> None:
        """`count` messages of a topic ended as `outcome` (`labels.MESSAGE_OUTCOMES`)."""
        self._messages.labels(topic, outcome).inc(count)

    def batch(self, size: int, seconds: float) -> None:
        """A batch of `size` messages was absorbed and committed in `seconds`."""
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def batch_retried(self) -> None:
        """A batch that could not be committed was tried again, in vain."""
        self._retries.inc()

    def batch_in_hand(self, seconds: float, part: str = "") -> None:
        """A batch that `part` has read `seconds` ago cannot be committed; 0: there is none. The oldest one is shown."""
        self._each_in_hand[part] = seconds
        self._in_hand.set(max(self._each_in_hand.values()))

    def persisted(self, seconds: float) -> None:
        """A message was committed `seconds` after nsqd's timestamp of it; our clock may be behind, that counts as 0."""
        self._persisted.observe(max(0.0, seconds))

    def newly_found(self, count: int = 1) -> None:
        """`count` profiles came by backfill and were unknown."""
        self._newly_found.inc(count)

    def settled(self, lane: Lane, outcome: str, seconds: float) -> None:
        """A leased profile took a step, or failed to, in `seconds`."""
        self._settled.labels(_name(lane), outcome).observe(seconds)

    def lease_lost(self) -> None:
        """A result was thrown away: the fencing token had moved."""
        self._leases_lost.inc()

    def quarantined(self, reason: str) -> None:
        """A profile or message was quarantined; `reason` is `Rejected.reason`."""
        self._quarantined.labels(reason).inc()

    def queue(self, lane: Lane, depth: int, oldest_seconds: float) -> None:
        """A lane holds `depth` unsettled profiles, the oldest first seen `oldest_seconds` ago (0: none)."""
        self._depth.set(depth, _name(lane))
        self._age.set(oldest_seconds, _name(lane))

    def in_quarantine(self, rows: int, messages: int) -> None:
        """So many ledger rows and so many messages wait in quarantine for a person."""
        self._in_quarantine.set(rows, "profile")
        self._in_quarantine.set(messages, "message")

    def oldest_unsettled(self, seconds: float) -> None:
        """The oldest unsettled profile of the live and retry lanes was first seen `seconds` ago (0: none)."""
        self._oldest.set(seconds)

    def unopenable(self, count: int) -> None:
        """`count` unsettled profiles wait for a process that has the key under which they are sealed."""
        self._unopenable.set(count)

    def clock_skew(self, clock: str, seconds: float) -> None:
        """A clock (`local`, `postgres`, `stripe`) is ahead of what most of the clocks tell (negative: behind)."""
        self._clock_skew.set(seconds, clock)

    def forget_queues(self) -> None:
        """Postgres can't be read: what was last read there is no longer shown."""
        ledger = (self._depth, self._age, self._oldest, self._unopenable, self._in_quarantine)
        self.refreshes.forget()
        self.charges.forget()
        for each in (*ledger, *self._of_the_outbox):
            each.forget()

    def stripe_call(self, operation: str, outcome: str, seconds: float) -> None:
        """A request to Stripe (`customers.create`) ended as `outcome` after `seconds`."""
        if outcome == "unclear":  # no answer, or one that tells nothing
            self._health.unanswered("stripe")
        else:
            self._health.answered("stripe")
        self._calls.labels(operation, outcome).inc()
        self._call_seconds.labels(operation).observe(seconds)

    def limiter_wait(self, lane: Lane, seconds: float) -> None:
        """A request waited `seconds` for the limiter."""
        self._waits.labels(_name(lane)).observe(seconds)

    def processes(self, living: int) -> None:
        """So many processes share the rate that Stripe grants."""
        self._processes.set(living)

    def forget_processes(self) -> None:
        """Their number isn't known any more."""
        self._processes.forget()

    def limiter_rate(self, scope: str, per_second: float) -> None:
        """The limiter now allows `per_second` requests for `scope` (`account`, or an endpoint)."""
        self._rate.labels(scope).set(per_second)

    def nsqd_links(self, *, connected: int, wanted: int, part: str = "") -> None:
        """Of `wanted` links of `part` (a topic on an nsqd each) so many are `connected`. All parts' are shown."""
        self._each_links[part] = connected, wanted
        for state, links in zip(("connected", "wanted"), zip(*self._each_links.values(), strict=True), strict=True):
            self._links.set(sum(links), state)

    def channel_depths(self, depths: Mapping[str, int]) -> None:
        """So many messages wait in our channel of each topic. A topic that is missing can't be told."""
        self._channel_depth.forget()
        for topic, depth in depths.items():
            self._channel_depth.set(depth, topic, self._lanes.get(topic, ""))

    def threads_alive(self, count: int) -> None:
        """`count` of our threads are running."""
        self._threads.set(count)

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
