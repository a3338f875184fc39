"""Everything at once, for about a minute (`python -m tests.faults.soak` for longer)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import soak
from tests.faults.soak_report import wrong
from tests.support.waiting import BUSY


@pytest.mark.timeout(240)
def test_profiles_and_their_lives_under_faults_of_every_kind_end_as_stripe_has_them(seed: int, tmp_path: Path) -> None:
    report = soak(profiles=300, seconds=30, faults=120, seed=seed, directory=tmp_path)
    print(report)  # noqa: T201 (pytest shows it with a failed test)
    assert not any(wrong(report)), wrong(report)
    assert report.poison_kept == report.poison_sent
    assert report.faults >= 115
    assert report.recovery_p99 <= 30 * BUSY, "seconds after the last fault"
    assert len(report.acts) >= 5, "they lead lives"
    assert {outcome.partition(" ")[0] for outcome in report.events} >= {"applied", "refreshing", "confirmed"}
