"""What Prometheus would make of real workers: it scrapes them once a minute, and evaluates the rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.alerts.promql import Labels, Scrape, Series, compiled
from tests.alerts.rules import FILE, Rule, read_rules
from tests.support.stack import Http

PROMTOOL = shutil.which("promtool")


class Firing(NamedTuple):
    """An alert that fires, with the labels of the series that it fires for."""

    alert: str
    labels: Labels


class Monitor:
    """Keeps the scrapes, a minute apart as far as the rules know; `workers` by the name of their instance."""

    def __init__(self, workers: Mapping[str, Http], rules: Sequence[Rule] | None = None) -> None:
        self.workers = dict(workers)
        self.scrapes: list[Scrape] = []
        self._names = set(re.findall(r"\b(?:subkeeper|process)_\w+", FILE.read_text()))
        self._rules = [(rule, compiled(rule.expr)) for rule in rules or read_rules()]
        self._since: dict[Firing, int] = {}
        self._firing: set[Firing] = set()

    def scrape(self, *, minutes: int = 1) -> None:
        """Asks every worker that answers, and takes it that nothing changes for so many minutes."""
        found: dict[Series, float] = {}
        for instance, worker in self.workers.items():
            try:
                status, text = worker.get("/metrics")
            except OSError:
                continue
            assert status == 200
            found |= _samples(text, self._names, {"job": "subkeeper", "instance": instance})
        for _ in range(minutes):
            self.scrapes.append(found)
            self._evaluate()

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {each.alert for each in self._firing}

    def labels(self, alert: str) -> list[dict[str, str]]:
        """What an alert fires for."""
        return [dict(each.labels) for each in self._firing if each.alert == alert]

    def _evaluate(self) -> None:
        now = len(self.scrapes) - 1
        holding = {
            Firing(rule.alert, labels): rule.hold for rule, evaluate in self._rules for labels in evaluate(self.scrapes)
        }
        self._since = {each: self._since.get(each, now) for each in holding}
        self._firing = {each for each, since in self._since.items() if now - since >= holding[each]}

    def agree_with_promtool(self, directory: Path) -> None:
        """Prometheus' own engine fires the same alerts at the end of the same scrapes, where it is installed."""
        if PROMTOOL is None:
            return
        test = directory / "rules_test.json"  # JSON is YAML
        test.write_text(json.dumps(self._as_promtool_s_test()))
        run = subprocess.run([PROMTOOL, "test", "rules", str(test)], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr

    def _as_promtool_s_test(self) -> dict[str, object]:
        every = {series: None for scrape in self.scrapes for series in scrape}
        series = [{"series": _written(each), "values": self._values(each)} for each in every]
        now = f"{len(self.scrapes) - 1}m"
        expected = [
            {"eval_time": now, "alertname": rule.alert, "exp_alerts": self._expected(rule)} for rule, _ in self._rules
        ]
        test = {"interval": "1m", "input_series": series, "alert_rule_test": expected}
        return {"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": [test]}

    def _values(self, series: Series) -> str:
        """A scrape that lacks the series is `_` until the series begins, then Prometheus' stale marker."""
        words, lacking = [], "_"
        for scrape in self.scrapes:
            if series in scrape:
                lacking = "stale"
            words.append(repr(scrape[series]) if series in scrape else lacking)
        return " ".join(words)

    def _expected(self, rule: Rule) -> list[dict[str, object]]:
        return [
            {"exp_labels": {**labels, "severity": rule.severity}, "exp_annotations": {"summary": _said(rule, labels)}}
            for labels in self.labels(rule.alert)
        ]


def _said(rule: Rule, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], rule.summary)


def _samples(text: str, names: Collection[str], labels: Mapping[str, str]) -> dict[Series, float]:
    """The samples of these names that a worker renders, as series with these labels too."""
    return {
        (sample.name, frozenset({**sample.labels, **labels}.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in names
    }


def _written(series: Series) -> str:
    name, labels = series
    return name + "{" + ", ".join(f'{label}="{value}"' for label, value in sorted(labels)) + "}"
