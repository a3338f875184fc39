"""Every benchmark runs, and says so in JSON. What it measures at such a size means nothing, and is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import BENCHES

pytestmark = pytest.mark.timeout(300)
"""One run of all of them, each with processes of its own."""

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """What `make bench` prints, by benchmark: run once, since its parts take their time to start."""
    command = [sys.executable, "-m", "bench", "--tiny", "--seed", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert ran.returncode == 0, ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    return {result["bench"]: result for result in found}


def test_all_benchmarks_run_and_each_prints_one_json_object(results: dict[str, Any]) -> None:
    assert list(results) == list(BENCHES)


def test_every_module_with_a_benchmark_is_run() -> None:
    with_one = {path.stem for path in (ROOT / "bench").glob("*.py") if "\nBENCH = " in path.read_text()}
    assert with_one == set(BENCHES)


@pytest.mark.parametrize("name", BENCHES)
def test_a_result_says_what_was_measured_where_and_how_to_repeat_it(results: dict[str, Any], name: str) -> None:
    result = results[name]
    assert result["figures"]
    assert result["sizes"]
    assert result["seed"] == 1
    assert result["machine"].keys() == {"cores", "cpu", "memory_mb", "load_before"}
    assert {"python", "nsqd", "postgres", "stripe", "subkeeper"} <= result["versions"].keys()


def test_the_latency_benchmark_finds_nothing_missing_and_nothing_double(results: dict[str, Any]) -> None:
    figures = results["latency"]["figures"]
    for measured in (figures["nsqd_on_disk_fsync_each"], *figures["nsqd_in_memory"], *figures["bare_chain"]):
        assert (measured["missing"], measured["duplicates"]) == (0, 0)


def test_our_own_signups_events_cost_no_read_and_each_delivery_becomes_a_row(results: dict[str, Any]) -> None:
    assert results["changed"]["figures"]["signups"]["reads_per_signup"] == 0
    assert min(results["rows"]["figures"]["applied_share"]) > 0.5
