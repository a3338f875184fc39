"""How metrics are made: with a prefix, and with every series that a closed list of label values promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from worker.telemetry.readings import Reading

Labels = Mapping[str, Iterable[str]]
"""A label's name, and the values that it can take; none where they are not known beforehand."""

NO_LABELS: Labels = {}


class Registry(CollectorRegistry):
    """A process's metrics, beside what the system knows of the process (`process_*`, on Linux)."""

    def __init__(self) -> None:
        super().__init__()
        ProcessCollector(registry=self)

    def counter(self, name: str, text: str, labels: Labels = NO_LABELS) -> Counter:
        counter = Counter(_full(name), text, list(labels), registry=self)
        _begin(counter, labels)
        return counter

    def gauge(self, name: str, text: str, labels: Labels = NO_LABELS) -> Gauge:
        gauge = Gauge(_full(name), text, list(labels), registry=self)
        _begin(gauge, labels)
        return gauge

    def histogram(self, name: str, text: str, buckets: Sequence[float], labels: Labels = NO_LABELS) -> Histogram:
        histogram = Histogram(_full(name), text, list(labels), registry=self, buckets=buckets)
        _begin(histogram, labels)
        return histogram

    def reading(self, name: str, text: str, *labels: str) -> Reading:
        """A gauge that is left out while it can't be read."""
        return Reading(_full(name), text, labels, self)


def _full(name: str) -> str:
    return f"subkeeper_{name}"


def _begin(metric: MetricWrapperBase, labels: Labels) -> None:
    """Every series at 0: one that only appears with its first event hides that event from `increase`."""
    for values in product(*labels.values()) if labels else ():
        metric.labels(*values)
