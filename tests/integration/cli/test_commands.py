"""The commands as people and supervisors run them: what they print, and with which code they exit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import SECRET_KEY, Spawned, Stack

HEAD = "0016"


def run(stack: Stack, *arguments: str, code: int = 0, **environ: str) -> str:
    """What the command printed; it must exit with `code` and without a traceback."""
    command = stack.spawn(*arguments, **environ)
    return finished(command, code)


def finished(command: Spawned, code: int = 0) -> str:
    assert command.wait(30) == code, command.text
    assert "Traceback" not in command.text
    return command.text


@pytest.fixture
def fresh(new_stack: NewStack, empty_database_url: str) -> Stack:
    """A deployment before its setup: no schema, no price, no topics."""
    return new_stack(database_url=empty_database_url)


def test_config_check_shows_every_setting_and_no_secret(fresh: Stack) -> None:
    url = "postgresql://someone:swordfish@127.0.0.1/subkeeper"
    for arguments in (("config", "check"), ("config", "check", "--json")):
        text = run(fresh, *arguments, SUBKEEPER_DATABASE__URL=url, SUBKEEPER_NSQ__AUTH_SECRET="nsq-swordfish")
        for secret in (SECRET_KEY, fresh.stripe.secret_key, "swordfish"):
            assert secret not in text
        assert "STRIPE_SECRET_KEY" in text
        assert "someone" in text
    found = json.loads(text)
    assert found["nsq"]["profile_topic"] == fresh.topic
    assert found["trial"]["days"] == 31


def test_config_check_reads_the_file_and_the_environment_wins(fresh: Stack, tmp_path: Path) -> None:
    file = tmp_path / "subkeeper.toml"
    file.write_text('namespace = "of-the-file"\n[trial]\ndays = 14\n')
    text = run(fresh, "--config", str(file), "config", "check", "--json", SUBKEEPER_TRIAL__DAYS="7")
    found = json.loads(text)
    assert (found["namespace"], found["trial"]["days"]) == ("of-the-file", 7)
    found = json.loads(run(fresh, "config", "check", "--json", SUBKEEPER_CONFIG=str(file)))
    assert found["trial"]["days"] == 14


BAD = {
    "trial.dayz": "[trial]\ndayz = 3\n",
    "nsq.channel": '[nsq]\nchannel = "subkeeper#ephemeral"\n',
}


@pytest.mark.parametrize("key", BAD)
def test_a_bad_setting_is_refused_with_its_name_by_every_command(fresh: Stack, tmp_path: Path, key: str) -> None:
    file = tmp_path / "subkeeper.toml"
    file.write_text(BAD[key])
    for arguments in (("config", "check"), ("run", "profiles")):
        text = run(fresh, *arguments, code=2, SUBKEEPER_CONFIG=str(file))
        assert key in text


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("STRIPE_SECRET_KEY", "pk_test_publishable", "STRIPE_SECRET_KEY"),
        ("STRIPE_SECRET_KEY", "sk_live_beside_test_mode", "livemode"),
        ("SUBKEEPER_SECRET_KEY", "", "SUBKEEPER_SECRET_KEY"),
        ("SUBKEEPER_TRIAL__DAYZ", "3", "SUBKEEPER_TRIAL__DAYZ"),
        ("SUBKEEPER_CONFIG", "/nowhere/subkeeper.toml", "SUBKEEPER_CONFIG"),
    ],
)
def test_a_bad_variable_is_refused_with_its_name_and_without_its_value(
    fresh: Stack, variable: str, value: str, named: str
) -> None:
    text = run(fresh, "run", "profiles", code=2, **{variable: value})
    assert named in text
    assert not (len(value) > 8 and "secret" in variable.lower() and value in text)


def test_run_refuses_a_database_without_a_schema_and_says_what_to_do(fresh: Stack) -> None:
    text = run(fresh, "run", "profiles", code=2)
    assert "database.url" in text
    assert "subkeeper db upgrade" in text


def test_run_on_a_health_port_that_is_taken_names_it_and_may_be_started_again(stack: Stack) -> None:
    worker = stack.spawn_worker()
    text = run(stack, "run", "profiles", code=1, SUBKEEPER_HEALTH__PORT=str(worker.port))
    assert "health.port" in text
    assert f"127.0.0.1:{worker.port} is in use by another process" in text
    assert worker.is_ready()


def test_setup_says_what_it_did_and_the_second_time_that_it_was_there(fresh: Stack) -> None:
    first = run(fresh, "setup")
    assert f"schema: created, at {HEAD}" in first
    assert fresh.stripe.account in first
    assert re.search(r"price pending: created price_\w+", first)
    assert f"channel {fresh.topic}/subkeeper: created" in first
    assert f"channel {fresh.backfill_topic}/subkeeper: created" in first
    assert f"channel {fresh.events_topic}/subkeeper: created" in first
    second = run(fresh, "setup")
    assert "created" not in second
    assert second.count("was there") == 5
    assert fresh.nsqd.channel(fresh.topic, "subkeeper")["depth"] == 0
    counts = fresh.control.state()["counts"]
    assert (counts["product"], counts["price"]) == (1, 1)


def test_two_setups_at_once_both_end_well_and_make_one_of_each(fresh: Stack) -> None:
    fresh.control.latency(ms=30)
    for command in [fresh.spawn("setup") for _ in range(3)]:
        finished(command)
    counts = fresh.control.state()["counts"]
    assert (counts["product"], counts["price"]) == (1, 1)
    assert len(fresh.rows("SELECT 1 FROM deployment")) == 1


def test_setup_makes_every_configured_plan(fresh: Stack, tmp_path: Path) -> None:
    file = tmp_path / "subkeeper.toml"
    file.write_text('[plans.pending]\n[plans.pro]\nname = "Pro"\nlookup_key = "pro-monthly"\nunit_amount = 900\n')
    run(fresh, "setup", SUBKEEPER_CONFIG=str(file))
    found = fresh.call_stripe("GET", "/v1/prices?lookup_keys[]=pro-monthly")["data"]
    assert [(price["unit_amount"], price["currency"]) for price in found] == [(900, "usd")]
    text = run(fresh, "setup", SUBKEEPER_CONFIG=str(file), SUBKEEPER_PLANS__PRO__UNIT_AMOUNT="1000")
    assert "not 1000 usd" in text, "an amount that differs is said, and nothing is changed"


def test_setup_without_a_key_does_the_rest(fresh: Stack) -> None:
    text = run(fresh, "setup", STRIPE_SECRET_KEY="")
    assert "billing is disabled" in text
    assert fresh.nsqd.channel(fresh.topic, "subkeeper")
    assert fresh.control.requests() == []


def test_setup_fails_where_an_nsqd_is_missing(fresh: Stack) -> None:
    """A broker that is left out now would lose messages later."""
    addresses = f"{fresh.nsqd.tcp_address},127.0.0.1:1"
    text = run(fresh, "setup", code=1, SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES=addresses)
    assert "nsqd is unavailable" in text


def test_setup_fails_with_one_line_where_postgres_or_stripe_is_away(fresh: Stack) -> None:
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    assert "postgres is unavailable" in run(fresh, "setup", code=1, SUBKEEPER_DATABASE__URL=away)
    run(fresh, "setup", code=1, SUBKEEPER_STRIPE__API_BASE="http://127.0.0.1:1")
    fresh.control.put_key(fresh.stripe.secret_key, revoked=True)
    assert "STRIPE_SECRET_KEY" in run(fresh, "setup", code=2)


def test_db_upgrade_and_check_go_together(fresh: Stack) -> None:
    assert "subkeeper db upgrade" in run(fresh, "db", "check", code=2)
    assert f"created, at {HEAD}" in run(fresh, "db", "upgrade")
    assert "was there" in run(fresh, "db", "upgrade")
    assert "agree" in run(fresh, "db", "check")
    fresh.rows("ALTER TABLE provisionings DROP COLUMN last_error")
    assert "last_error" in run(fresh, "db", "check", code=1)


def test_the_version_is_told(fresh: Stack) -> None:
    assert re.search(r"\d+\.\d+\.\d+", run(fresh, "--version"))
