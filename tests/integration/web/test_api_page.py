"""The calls in docs/api.md, run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.web.callers import subscribe
from tests.integration.web.conftest import NewEndpoint
from tests.support.jwts import AUDIENCE, ISSUER, SECRET, claims, signed
from worker.accounts.tokens import new_token

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLE = re.compile(r"^```console\n\$ (.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def as_said(said: Any, found: Any) -> bool:
    """Whether an answer is the one in the page, where … stands for more."""
    if isinstance(said, dict):
        named = {name: value for name, value in said.items() if name != "…"}
        whole = len(named) < len(said) or found.keys() == said.keys()
        return whole and all(as_said(value, found[name]) for name, value in named.items())
    if isinstance(said, list):
        return len(said) == len(found) and all(map(as_said, said, found))
    return bool(said == found)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_every_call_of_the_page_is_answered_as_it_says(new_endpoint: NewEndpoint, database_url: str) -> None:
    admin = new_token()
    endpoint = new_endpoint(
        SUBKEEPER_DATABASE__URL=database_url,
        SUBKEEPER_API__ADMIN_TOKENS=admin.digest,
        SUBKEEPER_API__JWT_SECRET=SECRET,
        SUBKEEPER_API__JWT_ISSUER=ISSUER,
        SUBKEEPER_API__JWT_AUDIENCE=AUDIENCE,
    )
    begun, ends = datetime(2026, 11, 20, 21, 39, tzinfo=UTC), datetime(2026, 12, 21, 21, 39, tzinfo=UTC)
    times: dict[str, Any] = {"trial_start": begun, "trial_end": ends, "period_start": begun, "period_end": ends}
    subscribe(database_url, "u-123", stripe_subscription_id="sub_1SxY", version=1, **times)
    subscribe(database_url, "u-7", "past_due", "pro")
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "API": f"http://127.0.0.1:{endpoint.web_port}",
        "TOKEN": signed(claims("u-123"), SECRET, "HS256", None),
        "ADMIN_TOKEN": admin.token,
    }
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) == 4
    for command, said in examples:
        done = subprocess.run(command, shell=True, env=environ, capture_output=True, text=True, check=True)
        assert as_said(json.loads(said), json.loads(done.stdout)), (command, done.stdout)
