"""`subkeeper config check` prints TOML, or JSON that says the same."""

from __future__ import annotations

import json
import tomllib

from worker.cli.config import as_toml
from worker.settings.model import Settings


def test_as_toml_it_says_the_same_as_json() -> None:
    values = Settings().effective()
    assert json.loads(json.dumps(values)) == values
    from_toml = tomllib.loads(as_toml(values))
    assert from_toml["plans"] == values["plans"]
    assert from_toml["nsq"]["tls"] == {"enabled": False}
    assert "# ca_file is not set" in as_toml(values)
