"""`subkeeper config check` prints TOML, or JSON that says the same."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from worker.cli.config import as_toml
from worker.settings.model import Settings


def test_as_toml_it_says_the_same_as_json() -> None:
    values = Settings().effective()
    assert json.loads(json.dumps(values)) == values
    from_toml = tomllib.loads(as_toml(values))
    pending = {name: value for name, value in values["plans"]["pending"].items() if value is not None}
    assert from_toml["plans"] == {"pending": pending}, "TOML has no null"
    assert from_toml["nsq"]["tls"] == {"enabled": False}
    assert "# ca_file is not set" in as_toml(values)


def test_what_it_prints_is_a_configuration_that_says_the_same(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(as_toml(Settings.load(None, {"SUBKEEPER_PLANS__PENDING__NAME": "\U0001f680 Start"}).effective()))
    settings = Settings.load(config, {})
    assert settings.plans["pending"].name == "\U0001f680 Start"
    assert settings.nsq == Settings().nsq
