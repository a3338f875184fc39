"""Gauges of what must be asked for: rendered while the answer is fresh, left out when it is not.

An old value, or a zero in its place, would end an alert in the very outage that it is for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.telemetry.health import Health

FRESH_FOR = 30.0
"""Seconds for which a reading is shown: whoever reads does so every 5 to 15 s, and may have stopped without a word."""


class Reading(Collector):
    """A gauge that is read off something else. Safe from any thread."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.labels = tuple(labels)
        self._name, self._text = name, text
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[tuple[str, ...], tuple[float, float]] = {}
        registry.register(self)

    def set(self, value: float, *labels: str) -> None:
        """What was read just now."""
        with self._lock:
            self._values[labels] = value, self._clock()

    def forget(self, *labels: str) -> None:
        """It can't be read now; without labels: nothing of it can."""
        with self._lock:
            if labels:
                self._values.pop(labels, None)
            else:
                self._values.clear()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=self.labels)
        oldest = self._clock() - FRESH_FOR
        with self._lock:
            for labels, (value, at) in self._values.items():
                if at >= oldest:
                    family.add_metric(labels, value)
        yield family


class Parts(Collector):
    """Every part of `health`, from the first moment of the process."""

    labels = ("part",)

    def __init__(self, health: Health, registry: CollectorRegistry) -> None:
        self._health = health
        registry.register(self)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        up = GaugeMetricFamily("subkeeper_up", "1 while this part is well, else 0", labels=self.labels)
        for part, condition in self._health.parts().items():
            up.add_metric((part,), int(condition.ok))
        yield up
        text = "Time since this part last answered; before its first answer, since the process started"
        silence = GaugeMetricFamily("subkeeper_last_answer_age_seconds", text, labels=self.labels)
        for part, seconds in self._health.silence().items():
            silence.add_metric((part,), seconds)
        yield silence
