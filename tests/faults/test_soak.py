"""Everything at once, for about a minute (`python -m tests.faults.soak` for longer)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import soak


@pytest.mark.timeout(240)
def test_two_thousand_profiles_under_three_hundred_faults_are_each_served_once_and_soon(
    seed: int, tmp_path: Path
) -> None:
    report = soak(profiles=2000, seconds=60, faults=320, seed=seed, directory=tmp_path)
    print(report)  # noqa: T201 (pytest shows it with a failed test)
    assert (report.lost, report.duplicated, report.unexpected) == ([], [], [])
    assert report.poison_kept == report.poison_sent
    assert report.leaks == [], "personal data or a secret in a log or in a dump of the database"
    assert report.crashes == [], "a worker met what nobody foresaw"
    assert report.faults >= 300
    assert report.recovery_p99 <= 30, "seconds after the last fault"
