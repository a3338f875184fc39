"""What statuses mean, as docs/api.md tells it too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.domain.statuses import MEANINGS, Meaning, meaning
from worker.domain.stripe_facts import TERMINAL_STATUSES

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
ROW = re.compile(r"^\| `(\w+)` \| (.*) \|$", re.MULTILINE)


def documented() -> dict[str, Meaning]:
    section = PAGE.read_text().partition("\n## Statuses\n")[2].partition("\n## ")[0]
    return {
        status: Meaning(*(cell.strip() == "yes" for cell in row.split("|"))) for status, row in ROW.findall(section)
    }


def test_the_table_in_the_documents_is_the_rule() -> None:
    assert documented() == MEANINGS


def test_the_statuses_are_stripes() -> None:
    stripes = {"incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused"}
    assert set(MEANINGS) == stripes
    assert {status for status, means in MEANINGS.items() if not means.current} == TERMINAL_STATUSES


@pytest.mark.parametrize("status", MEANINGS)
def test_pending_grants_its_trial_and_nothing_after_it(status: str) -> None:
    means = meaning(status, is_pending=True)
    assert means.grants_access == (status == "trialing")
    assert means._replace(grants_access=MEANINGS[status].grants_access) == meaning(status, is_pending=False)


def test_active_is_never_past_due() -> None:
    assert {status for status, means in MEANINGS.items() if means.active} == {"trialing", "active"}


def test_a_status_that_nobody_knows_grants_nothing_and_allows_nothing() -> None:
    assert meaning("dormant", is_pending=False) == Meaning(may_cancel=False, may_change_plan=False)
