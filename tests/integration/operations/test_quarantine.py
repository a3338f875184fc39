"""`subkeeper quarantine`: what waits for a person."""

from __future__ import annotations

import json
import threading
from dataclasses import fields

import pytest

from tests.support.commands import Commands
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.store import quarantine
from worker.store.engine.database import Database
from worker.store.quarantine import QuarantinedMessage

EMAIL = "secret.person@example.org"
POISON = json.dumps({"id": 7, "email": EMAIL}).encode()


def in_quarantine(stack: Stack) -> int:
    return int(stack.rows("SELECT count(*) AS n FROM quarantined_messages")[0]["n"])


@pytest.fixture
def poisoned(stack: Stack) -> Stack:
    """A message that no worker can read yet lies in quarantine; no worker runs."""
    worker = stack.start_worker()
    stack.publish(POISON)
    wait_until(lambda: in_quarantine(stack))
    worker.stop()
    return stack


def refuse(stack: Stack, user: str, *, customer: str | None = None) -> None:
    """A ledger row that was quarantined, without a profile to retry it with."""
    stack.rows(
        """INSERT INTO provisionings
               (user_id, state, plan, trial_end, lane, last_error, quarantined_at, stripe_customer_id, customer_request)
           VALUES (%s, 'quarantined', 'pending', now() + interval '31 days', 0, 'refused: no such country', now(), %s,
                   NULL)""",
        user,
        customer,
    )


def test_what_was_refused_is_listed_with_its_reason_and_nothing_personal(poisoned: Stack, commands: Commands) -> None:
    refuse(poisoned, "u-9")
    said = commands("quarantine", "list", "--json")
    newest, older = said.json
    assert (newest["kind"], newest["id"], newest["reason"]) == ("profile", "u-9", "refused")
    assert newest["detail"] == "no such country"
    assert (older["kind"], older["reason"]) == ("message", "id_not_text")
    assert EMAIL not in said.out
    plain = commands("quarantine", "list")
    assert [line.split("\t")[0] for line in plain.out.splitlines()] == ["kind", "profile", "message"]


def test_the_list_can_be_narrowed_paged_and_counted(stack: Stack, commands: Commands) -> None:
    for number in range(5):
        refuse(stack, f"u-{number}")
    stack.rows("UPDATE provisionings SET last_error = 'cus_1' WHERE user_id = 'u-0'")
    assert len(commands("quarantine", "list", "--reason", "refused", "--json").json) == 4
    assert commands("quarantine", "list", "--kind", "message", "--json").json == []
    pages = [commands("quarantine", "list", "--limit", "2", "--offset", str(n), "--json").json for n in (0, 2, 4)]
    assert len({row["id"] for page in pages for row in page}) == 5
    assert commands("quarantine", "list", "--totals", "--json").json == [
        {"kind": "profile", "reason": "refused", "count": 4},
        {"kind": "profile", "reason": "customer_of_another_user", "count": 1},
    ]


def test_a_page_is_readable_on_eighty_columns(poisoned: Stack, commands: Commands) -> None:
    refuse(poisoned, "9b2f5c1e-8a36-4f0e-9b66-1f0a2f1d7a55")
    said = commands.on_a_terminal("quarantine", "list")
    assert said.code == 0
    assert "2 of 2 shown" in said.out
    assert max(len(line) for line in without_colors(said.out).splitlines()) <= 80


def test_a_message_is_shown_and_its_body_only_when_asked_for(poisoned: Stack, commands: Commands) -> None:
    (row,) = commands("quarantine", "list", "--json").json
    said = commands("quarantine", "show", row["id"])
    assert (said.code, said.err) == (0, "")
    assert "id_not_text" in said.out
    assert EMAIL not in said.out
    said = commands("quarantine", "show", row["id"], "--reveal", "--json")
    assert json.loads(said.json[0]["sealed"]) == json.loads(POISON)
    assert "personal data" in said.err


def test_revealing_needs_the_key_that_sealed(poisoned: Stack, commands: Commands) -> None:
    (row,) = commands("quarantine", "list", "--json").json
    missing = commands("quarantine", "show", row["id"], "--reveal", SUBKEEPER_SECRET_KEY="")
    assert (missing.code, "SUBKEEPER_SECRET_KEY" in missing.err) == (2, True)
    another = commands("quarantine", "show", row["id"], "--reveal", SUBKEEPER_SECRET_KEY="x" * 40)
    assert (another.code, len(another.err.splitlines())) == (1, 1)
    assert commands("quarantine", "show", row["id"], SUBKEEPER_SECRET_KEY="").code == 0


def test_what_is_not_there_is_told_in_a_line(commands: Commands) -> None:
    for command in ("show", "retry"):
        said = commands("quarantine", command, "nobody")
        assert (said.code, said.out) == (1, "")
        assert said.err == "subkeeper: 'nobody' is neither a message nor a user in quarantine\n"


def test_a_message_that_can_be_read_by_now_is_retried_into_a_subscription(stack: Stack, commands: Commands) -> None:
    worker = stack.start_worker(SUBKEEPER_MESSAGE__ID="/user")
    stack.publish(profile("u-1"))
    wait_until(lambda: in_quarantine(stack))
    worker.stop()
    said = commands("quarantine", "retry", "--reason", "id_missing")
    assert said.out == "1 message published again, 0 profiles due again\n", said
    assert in_quarantine(stack) == 0
    said = commands("quarantine", "retry", "--reason", "id_mising")
    assert (said.code, "none is there for that reason" in said.err) == (0, True), "a slip is told"
    stack.start_worker()
    stack.await_completed("u-1")


def test_a_message_that_is_still_refused_comes_back_and_is_never_lost(poisoned: Stack, commands: Commands) -> None:
    poisoned.start_worker()
    for _ in range(2):
        before = commands("quarantine", "list", "--json").json[0]["id"]
        assert commands("quarantine", "retry", "--all").code == 0
        wait_until(lambda: poisoned.is_drained() and in_quarantine(poisoned) == 1)
        (row,) = commands("quarantine", "list", "--json").json
        assert int(row["id"]) > int(before)


def test_an_equal_message_that_is_refused_while_one_is_retried_is_kept(poisoned: Stack) -> None:
    """Were the retried one deleted after its publication, the new one would be taken for it, and lost with it."""
    database = Database(poisoned.settings().database)
    with database.transaction() as tx:
        (message,) = quarantine.take(tx, [quarantine.newest(tx)])
        again = QuarantinedMessage(**{each.name: getattr(message, each.name) for each in fields(QuarantinedMessage)})
        adding = threading.Thread(target=lambda: add(database, again))
        adding.start()
        wait_until(lambda: waits_for_a_lock(poisoned))
    adding.join()
    database.close()
    assert in_quarantine(poisoned) == 1


def test_a_message_stays_while_the_broker_is_away(poisoned: Stack, commands: Commands) -> None:
    said = commands("quarantine", "retry", "--all", SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES="127.0.0.1:1")
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert in_quarantine(poisoned) == 1


def test_two_people_who_retry_at_once_publish_each_message_once(stack: Stack, commands: Commands) -> None:
    worker = stack.start_worker()
    stack.publish(*[b"poison %d" % number for number in range(40)])
    wait_until(lambda: in_quarantine(stack) == 40)
    worker.stop()
    said: list[str] = []
    threads = [
        threading.Thread(target=lambda: said.append(commands("quarantine", "retry", "--all").out)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(int(line.split()[0]) for line in said) == 40
    assert in_quarantine(stack) == 0
    wait_until(lambda: stack.nsqd.channel(stack.topic, "subkeeper")["depth"] == 40)


def test_a_profile_that_stripe_refused_is_mended_by_publishing_it_anew(stack: Stack, commands: Commands) -> None:
    refuse(stack, "u-1")
    stack.start_worker()
    assert commands("publish", "--id", "u-1", "--email", "right@example.org").code == 0
    stack.await_completed("u-1")
    assert commands("quarantine", "list", "--json").json == []


def test_a_profile_with_a_customer_is_retried_as_it_is(stack: Stack, commands: Commands) -> None:
    customer = stack.call_stripe("POST", "/v1/customers", email="c@example.org")["id"]
    refuse(stack, "u-1", customer=customer)
    said = commands("quarantine", "retry", "u-1", SUBKEEPER_SECRET_KEY="")
    assert said.out == "0 messages published again, 1 profile due again\n"
    stack.start_worker()
    stack.await_completed("u-1")
    assert stack.ledger("u-1")["stripe_customer_id"] == customer


def test_a_profile_that_has_expired_must_be_published_again(stack: Stack, commands: Commands) -> None:
    refuse(stack, "u-1")
    said = commands("quarantine", "retry", "u-1")
    assert said.code == 1
    assert "u-1: its sealed profile has expired: publish the profile again" in said.err


def test_dropping_asks_first_and_forgets_only_who_has_no_customer(poisoned: Stack, commands: Commands) -> None:
    refuse(poisoned, "without")
    refuse(poisoned, "with", customer="cus_1")
    assert commands("quarantine", "drop", "--all").code == 2
    assert commands.on_a_terminal("quarantine", "drop", "--all", typed=b"n\n").code == 1
    assert in_quarantine(poisoned) == 1
    said = commands("quarantine", "drop", "--all", "--yes")
    assert said.out == "1 message dropped, 1 profile dropped\n"
    assert (said.code, said.err) == (1, "subkeeper: with: stays, for it has had a customer at Stripe: retry it\n")
    assert not poisoned.ledger("without")
    assert poisoned.ledger("with")["state"] == "quarantined"


def test_dropping_looks_before_it_asks(poisoned: Stack, commands: Commands) -> None:
    unknown = commands.on_a_terminal("quarantine", "drop", "nobody", typed=b"y\n")
    assert unknown.code == 1
    assert "'nobody' is neither a message nor a user in quarantine" in unknown.out
    assert "[y/N]" not in unknown.out
    asked = commands.on_a_terminal("quarantine", "drop", "--all", typed=b"n\n")
    assert "Drop 1 message for good? [y/N]" in asked.out
    none = commands.on_a_terminal("quarantine", "drop", "--reason", "no_such_reason", typed=b"y\n")
    assert (none.code, "[y/N]" in none.out) == (0, False)
    assert "Nothing to drop" in none.out


def test_on_a_terminal_a_yes_drops(poisoned: Stack, commands: Commands) -> None:
    assert commands.on_a_terminal("quarantine", "drop", "--all", typed=b"y\n").code == 0
    assert in_quarantine(poisoned) == 0


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_one_must_say_which(commands: Commands, command: str) -> None:
    assert commands("quarantine", command, "--yes" if command == "drop" else "--kind=message").code == 2
    assert commands("quarantine", command, "u-1", "--all").code == 2


def test_a_user_whose_id_is_a_messages_number_must_be_told_apart(poisoned: Stack, commands: Commands) -> None:
    (row,) = commands("quarantine", "list", "--json").json
    refuse(poisoned, row["id"])
    said = commands("quarantine", "show", row["id"])
    assert (said.code, "--kind" in said.err) == (1, True)
    (shown,) = commands("quarantine", "show", row["id"], "--kind", "profile", "--json").json
    assert (shown["kind"], shown["user_id"], shown["last_error"]) == ("profile", row["id"], "refused: no such country")


def add(database: Database, message: QuarantinedMessage) -> None:
    with database.transaction() as tx:
        quarantine.add(tx, [message])


def waits_for_a_lock(stack: Stack) -> bool:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(stack.rows(waiting))


def without_colors(text: str) -> str:
    return "".join(part.partition("m")[2] if index else part for index, part in enumerate(text.split("\x1b[")))


def test_lists_without_rows_say_none(stack: Stack, commands: Commands) -> None:
    for line in ("quarantine list", "quarantine list --totals", "provisioning list"):
        assert commands.on_a_terminal(*line.split()).out.split() == ["none"]
        piped = commands(*line.split())
        assert (piped.code, piped.err, len(piped.out.splitlines())) == (0, "none\n", 1), "a pipe gets the header alone"
        if "--totals" not in line:
            assert commands(*line.split(), "--json").out == ""
