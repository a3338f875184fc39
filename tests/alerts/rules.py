"""The rules as they are written in docs/prometheus/rules.yml.

Read line by line, as plain as that file is kept; promtool, where it is installed, says whether it is YAML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[2] / "docs" / "prometheus" / "rules.yml"
UNITS = {"m": 1, "h": 60, "d": 1440}


@dataclass(frozen=True, slots=True)
class Rule:
    """`hold`: minutes for which `expr` must hold before it fires."""

    alert: str
    expr: str
    hold: int
    severity: str
    summary: str


def minutes(duration: str) -> int:
    """`15m`, `1h`, `1d`."""
    return int(duration[:-1]) * UNITS[duration[-1]]


def read_rules() -> list[Rule]:
    found = re.split(r"\n\s+- alert: ", FILE.read_text())[1:]
    return [_read(text) for text in found]


def _read(text: str) -> Rule:
    lines = text.strip().splitlines()
    fields = dict(line.strip().split(": ", 1) for line in lines[1:] if ": " in line)
    assert set(fields) <= {"expr", "for", "severity", "summary"}, fields
    return Rule(
        alert=lines[0],
        expr=fields["expr"],
        hold=minutes(fields.get("for", "0m")),
        severity=fields["severity"],
        summary=fields["summary"].strip('"'),
    )
