"""`subkeeper publish`: one profile, in the shape that is configured."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.commands import Commands
from tests.support.stack import Stack

NESTED = {
    "SUBKEEPER_MESSAGE__ID": "/data/user/id",
    "SUBKEEPER_MESSAGE__EMAIL": "/data/user/mail",
    "SUBKEEPER_MESSAGE__NAME": "/data/display",
    "SUBKEEPER_MESSAGE__CREATED_AT": "/data/at",
}


def test_a_published_profile_gets_its_subscription(stack: Stack, commands: Commands) -> None:
    said = commands("publish", "--id", "u-1", "--email", "u1@example.org", "--name", "Ü One")
    assert (said.code, said.err) == (0, "")
    assert f"user u-1 on topic {stack.topic}" in said.out
    assert "example" not in said.out
    stack.start_worker()
    stack.await_completed("u-1")
    (customer,) = stack.customers("u-1")
    assert (customer["email"], customer["name"]) == ("u1@example.org", "Ü One")
    assert stack.ledger("u-1")["trial_end"] - datetime.now(UTC) == pytest.approx(
        timedelta(31), abs=timedelta(minutes=1)
    )


def test_the_configured_shape_is_written_and_read(stack: Stack, commands: Commands) -> None:
    commands.environ |= NESTED
    assert commands("publish", "--id", "u-1", "--name", "One").code == 0
    stack.start_worker(**NESTED)
    stack.await_completed("u-1")
    assert stack.customers("u-1")[0]["name"] == "One"


def test_a_whole_message_comes_from_stdin_and_goes_to_the_topic_that_was_said(stack: Stack, commands: Commands) -> None:
    message = json.dumps({"specversion": "1.0", "data": {"id": "u-2", "created_at": "2026-01-01T00:00:00Z"}})
    said = commands("publish", "--json", "-", "--topic", "backfill", stdin=message.encode() + b"\n")
    assert f"user u-2 on topic {stack.backfill_topic}" in said.out
    assert stack.nsqd.channel(stack.backfill_topic, "subkeeper")["depth"] == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--id", ""), "id_missing"),
        (("--id", "u" * 256), "id_too_long"),
        (("--id", "u", "--email", "e" * 513), "email_too_long"),
        (("--id", "u", "--created-at", "yesterday"), "created_at_invalid"),
        (("--json", "-"), "not_json"),
    ],
)
def test_what_a_worker_would_refuse_is_not_published(
    stack: Stack, commands: Commands, arguments: tuple[str, ...], reason: str
) -> None:
    said = commands("publish", *arguments, stdin=b"no json")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"subkeeper: {reason}: ")
    assert len(said.err.splitlines()) == 1
    assert stack.is_drained()


def test_it_says_what_to_change_where_the_command_line_or_the_settings_are_wrong(commands: Commands) -> None:
    assert commands("publish").code == 2
    assert commands("publish", "--id", "u", "--json", "-").code == 2
    said = commands("publish", "--id", "u", "--name", "n", SUBKEEPER_MESSAGE__NAME="/id")
    assert (said.code, len(said.err.splitlines())) == (2, 1)


def test_without_a_broker_it_fails_in_one_line(commands: Commands) -> None:
    said = commands("publish", "--id", "u", SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES="127.0.0.1:1")
    assert said.code == 1
    assert len(said.err.splitlines()) == 1
    assert "nsqd is unavailable" in said.err
