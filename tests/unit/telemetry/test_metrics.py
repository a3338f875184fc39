"""Metrics are API: docs/metrics.md lists them, and each method moves its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric

from worker.domain.lanes import Lane
from worker.errors import Misconfigured, TryLater
from worker.telemetry import Health, Metrics
from worker.telemetry.readings import FRESH_FOR, Reading

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def _registered() -> set[tuple[str, str, str, str]]:
    """Name, type, labels and meaning of all metrics of ours, as the table writes them."""
    rows = set()
    metrics = Metrics("1", Health(["postgres"]), {"t": Lane.LIVE})
    metrics.webhook.secrets(["main"])
    for family in metrics.registry.collect():
        if not family.name.startswith("process_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            rows.add((f"`{name}`", family.type, ", ".join(map("`{}`".format, _labels(family))), family.documentation))
    return rows


def _labels(family: Metric) -> Sequence[str]:
    """The label names of a metric: of its series, or those that its gauge is declared with while it has none."""
    for sample in family.samples:
        return [name for name in sample.labels if name != "le"]
    metrics = Metrics("1")
    everything = [*vars(metrics).values(), *vars(metrics.polls).values(), *vars(metrics.refreshes).values()]
    everything += [*vars(metrics.account_changes).values(), *vars(metrics.charges).values()]
    declared = {each._name: each.labels for each in everything if isinstance(each, Reading)}
    return declared[family.name]


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
        (lambda m: m.nsqd_links(connected=2, wanted=3), 'subkeeper_nsqd_links{state="connected"} 2.0'),
        (lambda m: m.nsqd_links(connected=2, wanted=3), 'subkeeper_nsqd_links{state="wanted"} 3.0'),
        (lambda m: m.channel_depths({"t": 4}), 'subkeeper_channel_depth{lane="live",topic="t"} 4.0'),
        (lambda m: setattr(m.broker, "redelivered", 3), "subkeeper_nsqd_redeliveries_total 3.0"),
        (lambda m: setattr(m.broker, "requeued", 4), "subkeeper_nsqd_requeues_total 4.0"),
        (
            lambda m: m.broker.disconnects.update(["silent"]),
            'subkeeper_nsqd_disconnects_total{reason="silent"} 1.0',
        ),
        (lambda m: m.persisted(0.0007), 'subkeeper_publish_to_persisted_seconds_bucket{le="0.001"} 1.0'),
        (lambda m: m.persisted(-5), "subkeeper_publish_to_persisted_seconds_sum 0.0"),
        (lambda m: m.change_sent(0.5), "subkeeper_change_to_sent_seconds_sum 0.5"),
        (lambda m: m.changes_waiting(3, 1.5, 2), "subkeeper_changes_unsent 3.0"),
        (lambda m: m.changes_waiting(3, 1.5, 2), "subkeeper_changes_oldest_unsent_seconds 1.5"),
        (lambda m: m.changes_waiting(3, 1.5, 2), "subkeeper_changes_refused 2.0"),
        (lambda m: m.threads_alive(6), "subkeeper_threads_alive 6.0"),
        (lambda m: None, 'subkeeper_build_info{version="1.2.3"} 1.0'),
    ],
)
def test_each_method_moves_its_own_metric(act: Callable[[Metrics], None], sample: str) -> None:
    metrics = Metrics("1.2.3", topics={"t": Lane.LIVE})
    act(metrics)
    assert sample in metrics.render().decode().splitlines()


def _samples(metrics: Metrics, name: str) -> dict[str, float]:
    """The series of a metric by their labels, as they are rendered."""
    lines = metrics.render().decode().splitlines()
    found = [line.rpartition(" ") for line in lines if re.match(rf"{name}[{{ ]", line)]
    return {series.removeprefix(name): float(value) for series, _, value in found}


def test_what_cannot_be_read_is_left_out_and_comes_back() -> None:
    metrics = Metrics("1")
    names = (
        "queue_depth", "queue_oldest_age_seconds", "oldest_unsettled_seconds", "in_quarantine", "channel_depth",
        "changes_unsent", "changes_oldest_unsent_seconds", "changes_refused",
    )  # fmt: skip
    assert [name for name in names if _samples(metrics, f"subkeeper_{name}")] == [], "nothing was read yet"
    for _ in range(2):
        metrics.queue(Lane.LIVE, 3, 4.0)
        metrics.oldest_unsettled(4.0)
        metrics.in_quarantine(1, 2)
        metrics.channel_depths({"t": 5})
        metrics.changes_waiting(3, 1.5, 2)
        assert [name for name in names if not _samples(metrics, f"subkeeper_{name}")] == []
        metrics.forget_queues()
        metrics.channel_depths({})
        assert [name for name in names if _samples(metrics, f"subkeeper_{name}")] == []


def test_a_topic_whose_depth_is_no_longer_told_is_left_out_alone() -> None:
    metrics = Metrics("1", topics={"a": Lane.LIVE, "b": Lane.BACKFILL})
    metrics.channel_depths({"a": 1, "b": 2})
    metrics.channel_depths({"b": 3})
    assert _samples(metrics, "subkeeper_channel_depth") == {'{lane="backfill",topic="b"}': 3.0}


def test_a_reading_that_nobody_renews_is_no_longer_shown() -> None:
    now = [0.0]
    reading = Reading("r", "text", (), CollectorRegistry(), clock=lambda: now[0])
    reading.set(7)
    now[0] = FRESH_FOR
    assert [sample.value for family in reading.collect() for sample in family.samples] == [7]
    now[0] += 1
    assert [sample for family in reading.collect() for sample in family.samples] == []


def test_every_part_is_exported_before_it_has_answered() -> None:
    now = [100.0]
    health = Health(["postgres", "stripe"], clock=lambda: now[0])
    metrics = Metrics("1", health)
    now[0] += 7
    assert _samples(metrics, "subkeeper_up") == {'{part="postgres"}': 0.0, '{part="stripe"}': 0.0}
    health.set("postgres", ok=True)
    now[0] += 3
    assert _samples(metrics, "subkeeper_up") == {'{part="postgres"}': 1.0, '{part="stripe"}': 0.0}
    ages = {'{part="postgres"}': 3.0, '{part="stripe"}': 10.0}
    assert _samples(metrics, "subkeeper_last_answer_age_seconds") == ages


def test_stripe_answers_with_a_refusal_too_and_not_with_silence() -> None:
    now = [0.0]
    metrics = Metrics("1", Health(["stripe"], clock=lambda: now[0]))
    now[0] = 5.0
    metrics.stripe_call("customers.create", "unclear", 1.0)
    assert _samples(metrics, "subkeeper_last_answer_age_seconds") == {'{part="stripe"}': 5.0}
    metrics.stripe_call("customers.create", "unauthorized", 1.0)
    assert _samples(metrics, "subkeeper_last_answer_age_seconds") == {'{part="stripe"}': 0.0}


def test_settling_counts_as_halted_while_only_a_person_can_mend_stripe() -> None:
    health = Health(["stripe"])
    metrics = Metrics("1", health)
    health.away("stripe", TryLater("stripe_unreachable"))
    assert _samples(metrics, "subkeeper_settling_halted") == {"": 0.0}
    health.away("stripe", Misconfigured("STRIPE_SECRET_KEY", "is refused", "Give another."))
    assert _samples(metrics, "subkeeper_settling_halted") == {"": 1.0}
    health.set("stripe", ok=True)
    assert _samples(metrics, "subkeeper_settling_halted") == {"": 0.0}


def test_every_labelled_series_is_there_at_0_from_the_first_moment() -> None:
    metrics = Metrics("1", Health(["stripe"]), {"t": Lane.LIVE, "b": Lane.BACKFILL})
    before = metrics.render().decode()
    metrics.messages("t", "quarantined")
    metrics.quarantined("id_missing")
    metrics.settled(Lane.RETRY, "lease_lost", 0.1)
    metrics.stripe_call("customers.create", "throttled", 0.1)
    metrics.limiter_wait(Lane.BACKFILL, 0.1)
    metrics.broker.disconnects["silent"] += 1

    def series(text: str) -> set[str]:
        return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("subkeeper_")}

    assert series(metrics.render().decode()) == series(before)
    assert 'subkeeper_quarantined_total{reason="id_missing"} 0.0' in before.splitlines()


def test_the_system_tells_of_the_process() -> None:
    assert "process_open_fds" in Metrics("1").render().decode()
