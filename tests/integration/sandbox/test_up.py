"""`subkeeper sandbox up`: one line when everything answers, and no trace of it afterwards, however it ended."""

from __future__ import annotations

import http.client
import json
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from sandbox.processes import is_alive
from sandbox.stripe.control import Control
from tests.integration.sandbox.programs import first_line, sandbox_command
from tests.support.waiting import wait_until
from worker.accounts.tokens import matching
from worker.settings.model import Settings

KEYS = [
    "nsqd_tcp", "nsqd_http", "nsqlookupd_http", "database_url", "stripe_api_base", "stripe_secret_key",
    "web", "webhook_url", "stripe_webhook_secret", "admin_token", "config",
]  # fmt: skip


def _ready(process: subprocess.Popen[str]) -> tuple[dict[str, Any], list[psutil.Process]]:
    addresses: dict[str, Any] = json.loads(first_line(process))
    return addresses, psutil.Process(process.pid).children(recursive=True)


def _is_gone(addresses: dict[str, Any], members: list[psutil.Process]) -> bool:
    return not Path(addresses["config"]).parent.exists() and not any(map(is_alive, members))


def test_up_prints_the_addresses_of_servers_that_answer() -> None:
    with sandbox_command("up", "--json") as process:
        addresses, _ = _ready(process)
        assert list(addresses) == KEYS
        for address in (addresses["nsqd_http"], addresses["nsqlookupd_http"]):
            connection = http.client.HTTPConnection(address, timeout=5)
            connection.request("GET", "/ping")
            assert connection.getresponse().read() == b"OK"
            connection.close()
        psycopg.connect(addresses["database_url"]).close()
        Control(addresses["stripe_api_base"]).health()


def test_the_configuration_of_up_loads_is_prepared_and_keeps_its_secrets_in_private_files() -> None:
    with sandbox_command("up", "--json") as process:
        addresses, _ = _ready(process)
        config = Path(addresses["config"])
        assert config.with_name("prepared").exists()
        settings = Settings.load(config, environ={})
        assert settings.nsq.nsqd_tcp_addresses == (addresses["nsqd_tcp"],)
        assert settings.database.url.get_secret_value() == addresses["database_url"]
        assert addresses["stripe_secret_key"] not in config.read_text()
        assert settings.webhook_secrets() == {"sandbox": addresses["stripe_webhook_secret"]}
        assert f"{settings.web.host}:{settings.web.port}" == addresses["web"]
        assert addresses["stripe_webhook_secret"] not in config.read_text()
        assert matching(addresses["admin_token"], settings.api.admin_tokens) is not None
        assert addresses["admin_token"] not in config.read_text()
        secret_files = (settings.secret_key_file, settings.stripe.secret_key_file, settings.stripe.webhook_secrets_file)
        for file in secret_files:
            assert file is not None
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert settings.stripe.secret_key_file is not None
        assert settings.stripe.secret_key_file.read_text().strip() == addresses["stripe_secret_key"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_up_with_success_and_leaves_nothing(signum: signal.Signals) -> None:
    with sandbox_command("up", "--json") as process:
        addresses, members = _ready(process)
        process.send_signal(signum)
        assert process.wait(20) == 0
        assert _is_gone(addresses, members)


def test_a_signal_while_it_starts_leaves_nothing_either() -> None:
    with sandbox_command("up", "--json") as process:
        me = psutil.Process(process.pid)
        wait_until(lambda: len(me.children()) > 1)  # the guardian, and a part
        members = me.children(recursive=True)
        process.terminate()
        assert process.wait(40) == 0
        wait_until(lambda: not any(map(is_alive, members)))


def test_nothing_is_left_seconds_after_up_was_killed() -> None:
    with sandbox_command("up", "--json") as process:
        addresses, members = _ready(process)
        process.kill()
        wait_until(lambda: _is_gone(addresses, members))


def test_the_next_up_cleans_up_after_one_that_was_killed_with_its_guardian() -> None:
    with sandbox_command("up", "--json") as process:
        addresses, members = _ready(process)
        guardian = next(member for member in members if "sandbox.guardian" in member.cmdline())
        guardian.kill()
        process.kill()
        process.wait()
        assert not _is_gone(addresses, members)
    with sandbox_command("up", "--json") as process:
        _ready(process)
        assert _is_gone(addresses, members)


def test_up_ends_with_an_error_that_names_the_part_that_ended() -> None:
    with sandbox_command("up", "--json") as process:
        addresses, members = _ready(process)
        next(member for member in members if member.name() == "nsqlookupd").kill()
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert "nsqlookupd: it ended by itself" in process.stderr.read()
        assert _is_gone(addresses, members)


def test_up_tells_a_person_an_address_a_line() -> None:
    with sandbox_command("up", "--stripe-latency", "5", "--seed", "seven") as process:
        assert first_line(process) == "Up:\n"
        told = dict(first_line(process).strip().rsplit("  ", 1) for _ in KEYS)
        assert [name.strip().replace(" ", "_") for name in told] == KEYS
        assert Path(told.popitem()[1]).is_file()
        assert "--config" in first_line(process)


def test_stripe_alone_says_where_it_is_and_ends_on_sigterm() -> None:
    with sandbox_command("stripe", "--port", "0", STRIPE_SECRET_KEY="") as process:
        said = json.loads(first_line(process))
        assert said["stripe_secret_key"].startswith("sk_test_")
        Control(said["stripe_api_base"]).health()
        process.terminate()
        assert process.wait(10) == 0


def test_stripe_alone_accepts_a_key_from_the_environment_and_does_not_print_it() -> None:
    with sandbox_command("stripe", "--port", "0", STRIPE_SECRET_KEY="sk_test_given") as process:
        said = json.loads(first_line(process))
        assert list(said) == ["stripe_api_base"]
        connection = http.client.HTTPConnection(said["stripe_api_base"].removeprefix("http://"), timeout=5)
        connection.request("GET", "/v1/account", headers={"Authorization": "Bearer sk_test_given"})
        assert connection.getresponse().status == 200
        connection.close()
