"""The systemd unit, judged by systemd where it is installed, and held to what the process promises."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worker.cli.common import BAD_SETTINGS
from worker.runtime.process import DRAIN_SECONDS
from worker.settings.loading import keys_of, variable
from worker.settings.model import Settings

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy" / "subkeeper.service"
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")


def options(section: str, name: str) -> list[str]:
    """Every value of an option, which a unit may have several times."""
    body = UNIT.read_text().split(f"[{section}]\n")[1].split("\n[")[0]
    return re.findall(rf"^{name}=(.*)$", body, re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that is on this machine."""
    program = Path(sys.executable).with_name("subkeeper")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/subkeeper/bin/subkeeper", str(program)))
    return unit


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@needs_systemd
def test_systemd_finds_nothing_wrong_with_it(installed: Path) -> None:
    found = analyze("verify", installed)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
    broken = installed.with_name("broken.service")
    broken.write_text(installed.read_text().replace("NoNewPrivileges", "NoNewPrivilege"))
    assert "NoNewPrivilege" in analyze("verify", broken).stderr, "it would say so"


@needs_systemd
def test_it_is_as_closed_as_a_service_with_a_network_can_be(installed: Path) -> None:
    found = analyze("security", "--offline=yes", "--threshold=20", installed)
    assert found.returncode == 0, found.stdout


def test_it_restarts_what_a_restart_mends_and_waits_for_the_drain() -> None:
    assert options("Service", "Restart") == ["on-failure"]
    assert options("Service", "RestartPreventExitStatus") == [str(BAD_SETTINGS)]
    [seconds] = options("Service", "TimeoutStopSec")
    assert int(seconds) >= DRAIN_SECONDS + 5


def test_every_variable_in_it_is_a_setting_and_every_secret_a_credential() -> None:
    known = {variable(key.path) for key in keys_of(Settings)}
    given = dict(line.split("=", 1) for line in options("Service", "Environment"))
    assert given
    assert given.keys() - known == set()
    credentials = {line.split(":")[0] for line in options("Service", "LoadCredential")}
    assert {value.removeprefix("%d/") for value in given.values()} == credentials


def test_no_option_is_there_twice_by_mistake() -> None:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep the case, as systemd does
    parser.read_string(UNIT.read_text())
    lists = {"LoadCredential", "Environment", "SystemCallFilter"}
    for name, _ in parser.items("Service"):
        assert len(options("Service", name)) == 1 or name in lists, name
