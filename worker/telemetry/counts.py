"""What one thread counts in passing, and the metrics show when they are asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from worker.telemetry.labels import DISCONNECT_REASONS
from worker.telemetry.stream import Losses


@dataclass(slots=True)
class BrokerCounts:
    """What happened between a reader and its nsqds since the start. Written by the reader's thread alone."""

    received: int = 0
    redelivered: int = 0
    finished: int = 0
    requeued: int = 0
    orphaned: int = 0
    """Finished or requeued after their connection was gone: nsqd delivers them again."""

    disconnects: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(DISCONNECT_REASONS, 0)))
    """Connections that were lost, by `worker.broker.protocol.Broken.reason`."""


class LogCounter(Collector):
    """`losses`, as a counter."""

    def __init__(self, losses: Losses, registry: CollectorRegistry) -> None:
        self._losses = losses
        registry.register(self)

    def collect(self) -> Iterable[CounterMetricFamily]:
        lost = CounterMetricFamily("subkeeper_log_lines_lost", "Log lines that were not written", labels=("reason",))
        lost.add_metric(("unwritable",), self._losses.unwritable)
        lost.add_metric(("repeated",), self._losses.repeated)
        yield lost


class BrokerCounters(Collector):
    """What each reader counts, added up, as counters."""

    def __init__(self, readers: Sequence[BrokerCounts], registry: CollectorRegistry) -> None:
        self._readers = readers
        registry.register(self)

    def collect(self) -> Iterable[CounterMetricFamily]:
        redelivered = sum(counts.redelivered for counts in self._readers)
        requeued = sum(counts.requeued for counts in self._readers)
        for name, text, value in (
            ("redeliveries", "Messages that nsqd delivered not for the first time", redelivered),
            ("requeues", "Messages given back to nsqd, to be delivered again", requeued),
        ):
            yield CounterMetricFamily(f"subkeeper_nsqd_{name}", text, value=value)
        text = "Connections to nsqd that were lost"
        disconnects = CounterMetricFamily("subkeeper_nsqd_disconnects", text, labels=("reason",))
        for reason in DISCONNECT_REASONS:
            disconnects.add_metric((reason,), sum(counts.disconnects[reason] for counts in self._readers))
        yield disconnects
