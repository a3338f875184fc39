from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a configuration file and tells where it is."""

    def write(toml: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(toml)
        return path

    return write
