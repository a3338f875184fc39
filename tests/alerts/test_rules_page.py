"""The rules, the table of alerts in docs/operations.md, and the metrics that exist, are one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.alerts.monitor import PROMTOOL
from tests.alerts.rules import FILE, read_rules
from worker.domain.lanes import Lane
from worker.telemetry import Health, Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SECTION = PAGE.partition("\n## Alerts\n")[2].partition("\n## ")[0]
TABLE = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", SECTION, re.MULTILINE)


def test_the_page_lists_the_rules_in_their_order() -> None:
    assert [name for name, _, _ in TABLE] == [rule.alert for rule in read_rules()]


def test_the_page_repeats_no_expression() -> None:
    assert re.findall(r"[<>=]=? ?\d|increase\(|last_over_time", SECTION) == []


def test_what_the_page_says_to_do_is_there() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    links = re.findall(r"\]\(#([\w-]+)\)", SECTION)
    assert links
    assert set(links) - headings == set()


def test_a_rule_is_complete() -> None:
    for rule in read_rules():
        assert rule.severity in {"page", "ticket"}
        assert rule.alert.startswith("Subkeeper")


def test_the_rules_ask_for_metrics_and_labels_that_exist() -> None:
    metrics = Metrics("1", Health(["postgres", "nsqd", "nsqd_events", "stripe"]), {"t": Lane.LIVE, "e": None})
    for lane in Lane:
        metrics.queue(lane, 1, 1.0)
    metrics.oldest_unsettled(1.0)
    metrics.unopenable(0)
    metrics.in_quarantine(0, 0)
    metrics.channel_depths({"t": 1, "e": 1})
    metrics.refreshes.standing(0, 0.0, 0)
    metrics.account_changes.standing(0, 0.0, 0, 0)
    metrics.charges.standing(0, 0.0)
    metrics.nsqd_links(connected=1, wanted=1)
    metrics.clock_skew("local", 0.0)
    metrics.changes_waiting(0, 0.0, 0)
    metrics.polls.standing(behind=0.0, left=0.0, gap=0.0, reads_left=0)
    rendered = metrics.render().decode()
    for name, matchers in re.findall(r"\b((?:subkeeper|process)_\w+)(?:\{(.*?)\})?", FILE.read_text()):
        wanted = [matcher for matcher in matchers.split(",") if matcher and "!=" not in matcher]
        lines = [line for line in rendered.splitlines() if re.match(rf"{name}[{{ ]", line)]
        assert any(all(matcher.strip() in line for matcher in wanted) for line in lines), (name, matchers)


def test_no_alert_ends_because_a_value_is_missing() -> None:
    families = Metrics("1", Health(["postgres"]), {"t": Lane.LIVE}).registry.collect()
    may_be_left_out = [family.name for family in families if not family.samples]
    assert "subkeeper_oldest_unsettled_seconds" in may_be_left_out
    for rule in read_rules():
        for name in may_be_left_out:
            assert re.findall(rf"(?<!last_over_time\(){name}\b", rule.expr) == [], rule.alert


def test_promtool_takes_the_rules() -> None:
    if PROMTOOL is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    run = subprocess.run([PROMTOOL, "check", "rules", str(FILE)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
