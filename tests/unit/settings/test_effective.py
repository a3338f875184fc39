"""`subkeeper config check` shows everything but secrets."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from worker.cli.config import as_toml
from worker.settings.model import Settings

SECRETS = {
    "STRIPE_SECRET_KEY": "sk_test_PLANTED",
    "SUBKEEPER_SECRET_KEY": "PLANTED" * 5,
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


def test_as_toml_it_says_the_same_as_json() -> None:
    values = Settings().effective()
    assert json.loads(json.dumps(values)) == values
    from_toml = tomllib.loads(as_toml(values))
    assert from_toml["plans"] == values["plans"]
    assert from_toml["nsq"]["tls"] == {"enabled": False}
    assert "# ca_file is not set" in as_toml(values)
