"""Metrics are API: docs/metrics.md lists them, and each method moves its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.domain.provisioning import Lane
from worker.telemetry import Metrics

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def _registered() -> set[tuple[str, str, str, str]]:
    """Name, type, labels and meaning of all metrics, as the table writes them."""
    rows = set()
    for collector in set(Metrics("1").registry._collector_to_names):
        (family,) = collector.collect()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))
        rows.add((f"`{name}`", family.type, labels, family.documentation))
    return rows


def test_the_document_lists_exactly_what_is_registered() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]*?) ?\| ([^|]*?) ?\| ([^|]*?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert set(rows) == _registered()
    assert len(rows) == len(_registered())


def test_names_have_the_prefix_and_base_units() -> None:
    names = [row[0].strip("`") for row in _registered()]
    assert [name for name in names if not re.fullmatch(r"subkeeper_[a-z_]+", name)] == []
    assert [name for name in names if re.search(r"_(ms|millis|minutes|hours)\b", name)] == []


@pytest.mark.parametrize(
    ("act", "sample"),
    [
        (lambda m: m.messages("t", "new", 3), 'subkeeper_messages_total{outcome="new",topic="t"} 3.0'),
        (lambda m: m.batch(5, 0.1), "subkeeper_batch_messages_sum 5.0"),
        (lambda m: m.batch(5, 0.5), "subkeeper_batch_seconds_sum 0.5"),
        (lambda m: m.persisted(0.5), "subkeeper_publish_to_persisted_seconds_sum 0.5"),
        (lambda m: m.newly_found(2), "subkeeper_newly_found_total 2.0"),
        (
            lambda m: m.settled(Lane.LIVE, "completed", 0.5),
            'subkeeper_settle_seconds_sum{lane="live",outcome="completed"} 0.5',
        ),
        (lambda m: m.lease_lost(), "subkeeper_leases_lost_total 1.0"),
        (lambda m: m.quarantined("no_id"), 'subkeeper_quarantined_total{reason="no_id"} 1.0'),
        (lambda m: m.queue(Lane.BACKFILL, 7, 1.5), 'subkeeper_queue_depth{lane="backfill"} 7.0'),
        (lambda m: m.queue(Lane.RETRY, 7, 1.5), 'subkeeper_queue_oldest_age_seconds{lane="retry"} 1.5'),
        (lambda m: m.oldest_unsettled(9.0), "subkeeper_oldest_unsettled_seconds 9.0"),
        (
            lambda m: m.stripe_call("customers.create", "ok", 0.2),
            'subkeeper_stripe_calls_total{operation="customers.create",outcome="ok"} 1.0',
        ),
        (
            lambda m: m.stripe_call("customers.create", "ok", 0.25),
            'subkeeper_stripe_call_seconds_sum{operation="customers.create"} 0.25',
        ),
        (lambda m: m.limiter_wait(Lane.LIVE, 0.5), 'subkeeper_limiter_wait_seconds_sum{lane="live"} 0.5'),
        (lambda m: m.limiter_rate("account", 80), 'subkeeper_limiter_rate_per_second{scope="account"} 80.0'),
        (lambda m: m.nsqd_connections(2), "subkeeper_nsqd_connections 2.0"),
        (lambda m: m.channel_depth("t", 4), 'subkeeper_channel_depth{topic="t"} 4.0'),
        (lambda m: m.threads_alive(6), "subkeeper_threads_alive 6.0"),
        (lambda m: None, 'subkeeper_build_info{version="1.2.3"} 1.0'),
    ],
)
def test_each_method_moves_its_own_metric(act: Callable[[Metrics], None], sample: str) -> None:
    metrics = Metrics("1.2.3")
    act(metrics)
    assert sample in metrics.render().decode().splitlines()
