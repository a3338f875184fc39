"""How metrics are made: with a prefix, and with every series that a closed list of label values promises."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from worker.telemetry.readings import Reading

Labels = Mapping[str, Iterable[str]]
"""A label's name, and the values that it can take; none where they are not known beforehand."""

NO_LABELS: Labels = {}


class Registry(CollectorRegistry):
    """A process's metrics, beside what the system knows of the process (`process_*`, on Linux)."""

    def __init__(self) -> None:
        super().__init__()
        self._promised: list[tuple[MetricWrapperBase, Labels]] = []
        self._beginning = threading.Lock()
        ProcessCollector(registry=self)

    def collect(self) -> Iterable[Metric]:
        """With every series at 0: one that only appears with its first event hides that event from `increase`. They
        begin when they are first asked for: hundreds take as long as all else that a process starts with."""
        with self._beginning:
            for metric, labels in self._promised:
                for values in product(*labels.values()):
                    metric.labels(*values)
            self._promised.clear()
        return super().collect()

    def counter(self, name: str, text: str, labels: Labels = NO_LABELS) -> Counter:
        counter = Counter(_full(name), text, list(labels), registry=self)
        self._promise(counter, labels)
        return counter

    def gauge(self, name: str, text: str, labels: Labels = NO_LABELS) -> Gauge:
        gauge = Gauge(_full(name), text, list(labels), registry=self)
        self._promise(gauge, labels)
        return gauge

    def histogram(self, name: str, text: str, buckets: Sequence[float], labels: Labels = NO_LABELS) -> Histogram:
        histogram = Histogram(_full(name), text, list(labels), registry=self, buckets=buckets)
        self._promise(histogram, labels)
        return histogram

    def reading(self, name: str, text: str, *labels: str) -> Reading:
        """A gauge that is left out while it can't be read."""
        return Reading(_full(name), text, labels, self)

    def _promise(self, metric: MetricWrapperBase, labels: Labels) -> None:
        if labels:
            self._promised.append((metric, labels))


def _full(name: str) -> str:
    return f"subkeeper_{name}"
