"""`subkeeper config check` shows everything but secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.settings.model import Settings

SECRETS = {
    "STRIPE_SECRET_KEY": "sk_test_PLANTED",
    "SUBKEEPER_SECRET_KEY": "PLANTED" * 5,
    "STRIPE_WEBHOOK_SECRETS": "main=whsec_PLANTED1234567890",
    "SUBKEEPER_NSQ__AUTH_SECRET": "PLANTED",
    "SUBKEEPER_DATABASE__URL": "postgresql://me:PLANTED%40@db.example:5432/subkeeper?sslmode=require",
}


def test_no_secret_is_shown() -> None:
    settings = Settings.load(None, SECRETS)
    assert "PLANTED" not in f"{settings.effective()} {settings} {settings!r}"


def test_it_says_which_secrets_are_set_and_where_they_come_from(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk_test_1")
    environ = {"STRIPE_SECRET_KEY_FILE": str(file), "SUBKEEPER_SECRET_KEY": "k" * 32}
    values = Settings.load(None, environ).effective()
    assert values["secret_key"] == "******** (set by SUBKEEPER_SECRET_KEY)"
    assert values["stripe"]["secret_key"] == f"******** (read from {file}, set by STRIPE_SECRET_KEY_FILE)"
    assert values["nsq"]["auth_secret"] == "not set"


def test_of_the_database_url_only_the_password_is_masked() -> None:
    url = Settings.load(None, SECRETS).effective()["database"]["url"]
    assert url == "postgresql://me:********@db.example:5432/subkeeper?sslmode=require"


@pytest.mark.parametrize(
    ("url", "masked", "password"),
    [
        ("postgresql://me:PLANTED 1@h/x", "postgresql://me:********@h/x", "PLANTED 1"),
        ("postgresql://my me:PLANTED@h/x", "postgresql://my me:********@h/x", "PLANTED"),
        ("postgresql://h/x?password=a#PLANTED+b", "postgresql://h/x?password=********", "a#PLANTED b"),
        ("postgresql://me%3APLANTED@h/x", "postgresql://me%3A********@h/x", "PLANTED"),
        ("postgresql://me:PLANTED%20@[::1]:5432/x", "postgresql://me:********@[::1]:5432/x", "PLANTED "),
        ("postgresql://h/x?sslpassword=PLANTED&a=b", "postgresql://h/x?sslpassword=********&a=b", "PLANTED"),
        ("postgresql://h/x?a=b&password= PLANTED", "postgresql://h/x?a=b&password=********", " PLANTED"),
    ],
)
def test_a_password_is_masked_wherever_it_stands_and_known_to_whoever_masks_logs(
    url: str, masked: str, password: str
) -> None:
    settings = Settings.load(None, {"SUBKEEPER_DATABASE__URL": url})
    assert settings.effective()["database"]["url"] == masked
    assert password in settings.secret_values()


@pytest.mark.parametrize(
    "url", ["postgresql://me@[::1]:5432/x", "postgresql://h:5432/x?o=http://a.example", "postgres:///x"]
)
def test_a_url_without_a_password_stays_as_it_is(url: str) -> None:
    settings = Settings.load(None, {"SUBKEEPER_DATABASE__URL": url})
    assert settings.effective()["database"]["url"] == url
    assert settings.secret_values() == []
