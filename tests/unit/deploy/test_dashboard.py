"""The Grafana dashboard asks for metrics and labels that a process has."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", [])]

ROW = re.compile(r"^\| `(subkeeper_\w+)` \| (\w+) \| ([^|]*)\|", re.MULTILINE)
"""docs/metrics.md, which a test of its own holds to what a process registers."""

SUFFIXES = {"histogram": ("_bucket", "_count", "_sum")}
OF_THE_SCRAPE = {"job", "instance", "le"}
OF_PROMETHEUS_CLIENT = {"process_resident_memory_bytes"}
"""`process_*`, which `prometheus_client` registers where there is a /proc."""


def series() -> dict[str, set[str]]:
    """Every name that Prometheus stores, with its labels."""
    found = dict.fromkeys(OF_PROMETHEUS_CLIENT, OF_THE_SCRAPE)
    for name, kind, labels in ROW.findall((ROOT / "docs" / "metrics.md").read_text()):
        for suffix in SUFFIXES.get(kind, ("",)):
            found[name + suffix] = set(re.findall(r"`(\w+)`", labels)) | OF_THE_SCRAPE
    return found


def names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:subkeeper|process)_\w+", expression))


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_a_panel_asks_for_what_is_there(title: str, expression: str) -> None:
    known = series()
    assert names(expression)
    assert names(expression) - known.keys() == set()
    asked = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
    asked |= set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression))
    for name in names(expression):
        assert asked - known[name] == set(), name


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_counters_are_asked_for_their_growth_and_gauges_are_not(title: str, expression: str) -> None:
    for name in names(expression):
        grows = re.search(rf"\b(rate|increase)\({name}\b", expression) is not None
        assert grows == name.endswith(("_total", "_bucket", "_count", "_sum"))


def test_a_legend_shows_labels_that_its_expression_keeps() -> None:
    for panel in PANELS:
        for target in panel.get("targets", []):
            kept = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            if kept or "sum(" in target["expr"] or "max(" in target["expr"]:
                assert shown <= {label.strip() for group in kept for label in group.split(",")}, panel["title"]


def test_panels_have_ids_and_places_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in PANELS) <= 24


def test_variables_that_are_used_are_defined() -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS)))
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert used - {"__rate_interval"} == defined


def test_every_metric_has_a_panel() -> None:
    shown = {name for _, expression in EXPRESSIONS for name in names(expression)}
    of_ours = {name for name, _, _ in ROW.findall((ROOT / "docs" / "metrics.md").read_text())}
    assert [name for name in of_ours if not any(each.startswith(name) for each in shown)] == []
