"""Admin tokens and their digests."""

from __future__ import annotations

import json
import random

import pytest
from click.testing import CliRunner

from worker.accounts.callers import Callers
from worker.accounts.tokens import PREFIX, digest, matching, new_token
from worker.cli import main
from worker.domain.callers import ADMIN, TokenRefused
from worker.settings.model import Settings


def test_a_token_is_taken_by_its_digest_beside_others(rng: random.Random) -> None:
    old, new, other = (new_token(rng.randbytes) for _ in range(3))
    callers = Callers([old.digest, new.digest], None)
    for each in (old, new):
        found = callers.find(f"Bearer {each.token}")
        assert found is not None
        assert (found.user_id, found.scopes) == (None, frozenset({ADMIN.id}))
        assert each.token not in found.name
    with pytest.raises(TokenRefused, match="unknown"):
        callers.find(f"bearer {other.token}")
    assert matching(new.token, []) is None


def test_what_is_no_token_is_refused(rng: random.Random) -> None:
    token, callers = new_token(rng.randbytes).token, Callers([digest("")], None)
    for header in ("", "Bearer", "Bearer ", f"Basic {token}", token, f"Bearer {token}ä", f"Bearer {'x' * 10_000}"):
        with pytest.raises(TokenRefused, match="malformed"):
            callers.find(header)
    for header in (f"Bearer {PREFIX}", f"Bearer {token[:-1]}", f"Bearer {token} ", "Bearer abc"):
        with pytest.raises(TokenRefused, match="unknown"):
            callers.find(header)
    assert callers.find(None) is None


def test_the_command_prints_a_token_and_a_digest_that_the_settings_take() -> None:
    made = json.loads(CliRunner().invoke(main, ["token", "new", "--json"]).output)
    again = CliRunner().invoke(main, ["token", "new"]).output
    assert made["digest"] == digest(made["token"])
    assert made["token"] not in again
    settings = Settings.load(None, {"SUBKEEPER_API__ADMIN_TOKENS": made["digest"]})
    assert Callers(settings.api.admin_tokens, None).find(f"Bearer {made['token']}") is not None
