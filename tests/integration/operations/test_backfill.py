"""`subkeeper backfill`: a file of profiles, published again."""

from __future__ import annotations

import json
import random
import re
import stat
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import Commands
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until

POISON = (b"no json", b"\xff", b'{"id":7}', b'{"id":""}', b'{"id":"x","id":"y"}')


def names(count: int, prefix: str = "user") -> list[str]:
    return [f"{prefix}-{number:05}" for number in range(count)]


def ndjson(users: Sequence[str]) -> bytes:
    return b"".join(json.dumps(profile(user)).encode() + b"\n" for user in users)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.ndjson"


def depth(stack: Stack) -> int:
    return int(stack.nsqd.channel(stack.backfill_topic, "subkeeper")["depth"])


def test_what_is_missing_is_found_and_a_second_run_changes_nothing_and_says_so(
    stack: Stack, commands: Commands, file: Path
) -> None:
    stack.start_worker()
    stack.publish(profile("known"))
    stack.await_completed("known")
    file.write_bytes(ndjson(["known", *names(30), names(30)[0]]))
    first = commands("backfill", file, "--fail-if-new")
    assert first.code == 3, first
    assert "32 records: 32 published" in first.out
    assert "31 users: 30 newly found, 1 known before" in first.out
    stack.await_completed(*names(30))
    second = commands("backfill", file, "--fail-if-new")
    assert second.code == 0, second
    assert "31 users: 0 newly found, 31 known before" in second.out
    assert "This run changed nothing." in second.out
    for user in ("known", *names(30)):
        assert len(stack.customers(user)) == len(stack.subscriptions(user)) == 1
    assert sorted(path.name for path in file.parent.glob("users*")) == ["users.ndjson"], "nothing is left behind"


def test_of_twenty_thousand_lines_the_bad_ones_are_told_by_number_and_kept(
    stack: Stack, commands: Commands, file: Path, rng: random.Random
) -> None:
    lines = ndjson(names(20_000)).splitlines()
    bad = sorted(rng.sample(range(1, 20_000), 300))
    for number in bad:
        lines[number] = rng.choice(POISON)
    file.write_bytes(b"\n".join(lines))
    said = commands("backfill", file, "--max-depth", "0")
    assert said.code == 0, said
    assert "20000 records: 19700 published" in said.out
    assert "300 rejected" in said.out
    told = [line.split(":")[0] for line in said.err.splitlines()]
    assert told[:20] == [f"line {number + 1}" for number in bad[:20]]
    rejects = file.with_name("users.ndjson.rejects")
    assert rejects.read_bytes().splitlines() == [lines[number] for number in bad]
    assert stat.S_IMODE(rejects.stat().st_mode) == 0o600
    wait_until(lambda: depth(stack) == 19_700)


def test_a_dry_run_validates_compares_and_leaves_everything_as_it_was(
    stack: Stack, commands: Commands, file: Path
) -> None:
    for user, state in (("known", "pending"), ("set-aside", "quarantined")):
        stack.rows(
            "INSERT INTO provisionings (user_id, state, plan, trial_end, lane) VALUES (%s, %s, 'pending', now(), 0)",
            user,
            state,
        )
    stack.rows(
        "INSERT INTO provisionings (user_id, state, plan, trial_end, lane, first_seen_at)"
        " VALUES ('absorbed-meanwhile', 'pending', 'pending', now(), 2, now() + interval '1 hour')"
    )
    file.write_bytes(ndjson(["known", "absorbed-meanwhile", "set-aside", "new", "new"]) + b"bad\n")
    said = commands("backfill", file, "--dry-run")
    assert said.code == 0, said
    assert said.err == "line 6: not_json: Expecting value (character 0)\n"
    assert "Dry run: nothing was published." in said.out
    assert "6 records: 5 valid, 1 rejected" in said.out
    assert "4 users: 1 new to the ledger, 3 known" in said.out
    assert "1 of them in quarantine" in said.out
    assert depth(stack) == 0
    assert [path.name for path in file.parent.glob("users*")] == ["users.ndjson"]
    (counts,) = commands("backfill", file, "--dry-run", "--json").json
    assert (counts["valid"], counts["new"], counts["known"], counts["in_quarantine"]) == (5, 1, 3, 1)


@pytest.mark.parametrize("content", [b"name,email\nAnn,a@example.org\n", b'[{"id": "u-1"}]\n', b"\x1f\x8b\x08\n"])
def test_an_input_that_cannot_be_read_at_all_leaves_nothing_beside_it(
    commands: Commands, file: Path, content: bytes
) -> None:
    """So that the one that is mended begins then, and not when the wrong one was given."""
    file.write_bytes(content)
    said = commands("backfill", file)
    assert (said.code, len(said.err.splitlines())) == (1, 1), said
    assert [path.name for path in file.parent.glob("users*")] == ["users.ndjson"]


def test_a_pipe_from_postgres_is_taken_as_it_comes(stack: Stack, commands: Commands) -> None:
    stack.rows("CREATE TABLE people (id text, email text, name text, created_at timestamptz, secret text)")
    stack.rows("""INSERT INTO people VALUES ('p-1', 'p1@example.org', E'O''Neil, "Al"\\nsecond line', now(), 'x'),
                  ('p-2', NULL, '', now() - interval '1 year', 'x')""")
    copy = "COPY people TO STDOUT (FORMAT csv, HEADER)"
    with psycopg.connect(stack.database_url) as connection, connection.cursor().copy(copy) as copied:
        said = commands("backfill", "-", stdin=b"".join(map(bytes, copied)))
    assert (said.code, said.err) == (0, ""), said
    stack.start_worker()
    stack.await_completed("p-1", "p-2")
    assert stack.customers("p-1")[0]["name"] == 'O\'Neil, "Al"\nsecond line'
    assert stack.customers("p-2")[0]["email"] is None


def test_bad_lines_of_a_pipe_are_kept_in_a_new_file_that_only_its_owner_reads(
    commands: Commands, tmp_path: Path
) -> None:
    content = ndjson(["a"]) + b"bad\n" * 50
    said = commands("backfill", "-", stdin=content)
    assert said.code == 0, said
    assert [line.split(":")[0] for line in said.err.splitlines()[:20]] == [f"line {number}" for number in range(2, 22)]
    (kept,) = tmp_path.glob("subkeeper-backfill-*.rejects")
    assert str(kept) in said.out
    assert kept.read_bytes() == b"bad\n" * 50
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    (counts,) = commands("backfill", "-", "--json", stdin=content).json
    assert Path(counts["reject_file"]).read_bytes() == b"bad\n" * 50
    chosen = tmp_path / "kept"
    commands("backfill", "-", "--rejects", chosen, stdin=content)
    assert chosen.read_bytes() == b"bad\n" * 50
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o600


def test_a_pipe_without_bad_lines_leaves_no_file(commands: Commands, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert commands("backfill", "-", stdin=ndjson(["a"])).code == 0
    assert set(tmp_path.iterdir()) == before


def test_rejects_of_a_csv_file_keep_its_header_and_can_be_given_again(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_bytes(b"id,email\r\na,a@example.org\r\nb\r\n")
    assert "1 rejected" in commands("backfill", file).out
    rejects = tmp_path / "users.csv.rejects"
    assert rejects.read_bytes() == b"id,email\r\nb\r\n"
    rejects.write_bytes(rejects.read_bytes().replace(b"\nb", b"\nb,b@example.org"))
    assert "1 published" in commands("backfill", rejects).out


def test_a_full_channel_is_waited_for_and_given_up_if_nobody_takes_anything(
    stack: Stack, commands: Commands, file: Path
) -> None:
    file.write_bytes(ndjson(names(1000)))
    said = commands("backfill", file, "--max-depth", "450", "--patience", "1s")
    assert said.code == 1
    assert "400 messages wait in the channel" in said.err
    assert "All up to line 400 is done; to go on, run the same command again." in said.err
    assert depth(stack) == 400
    stack.start_worker()
    again = commands("backfill", file, "--max-depth", "450", "--wait")
    assert again.code == 0, again
    assert "Going on after line 400" in again.err
    assert "1000 users: 1000 newly found, 0 known before" in again.out


def test_a_message_that_only_this_nsqd_refuses_is_set_aside_and_the_others_go(
    stack: Stack, commands: Commands, file: Path
) -> None:
    file.write_bytes(ndjson(["a"]) + json.dumps({"id": "b", "more": "x" * 1_049_000}).encode() + b"\n" + ndjson(["c"]))
    said = commands("backfill", file)
    assert said.code == 0, said
    assert "1 message_too_big" in said.out
    wait_until(lambda: depth(stack) == 2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"[{}]", "JSON array"), (b"a,b\nc,d\n", "no column id"), (b"\xff\xfei\x00d\x00", "UTF-16")],
)
def test_an_input_that_cannot_be_read_is_refused_in_one_line(
    commands: Commands, file: Path, content: bytes, problem: str
) -> None:
    file.write_bytes(content)
    said = commands("backfill", file)
    assert (said.code, len(said.err.splitlines())) == (1, 1), said
    assert problem in said.err


HEADER = b"id,email,name,created_at\n"


@pytest.mark.parametrize("content", [b"", b"\n\n", HEADER])
@pytest.mark.parametrize("option", ["--fail-if-new", "--dry-run"])
def test_an_empty_input_fails_unless_that_is_allowed(commands: Commands, content: bytes, option: str) -> None:
    said = commands("backfill", "-", option, stdin=content)
    assert said.code == 1
    assert "--allow-empty" in said.err
    allowed = commands("backfill", "-", option, "--allow-empty", stdin=content)
    assert (allowed.code, allowed.err) == (0, "")
    assert "0 records" in allowed.out


def test_an_empty_file_fails_as_well(commands: Commands, file: Path) -> None:
    file.touch()
    assert commands("backfill", file).code == 1
    assert [path.name for path in file.parent.glob("users*")] == ["users.ndjson"]


def test_of_csv_that_may_be_empty_the_header_is_still_asked_for(commands: Commands) -> None:
    """So that a query that failed is told from a window without profiles."""
    said = commands("backfill", "-", "--format", "csv", "--allow-empty", stdin=b"")
    assert (said.code, said.out, len(said.err.splitlines())) == (1, "", 1), said
    assert "did the command before it fail?" in said.err
    assert commands("backfill", "-", "--format", "csv", "--allow-empty", stdin=HEADER).code == 0


def test_an_empty_input_waits_for_nobody_elses_messages(commands: Commands) -> None:
    assert commands("backfill", "-", stdin=ndjson(["a"])).code == 0
    said = commands("backfill", "-", "--fail-if-new", "--patience", "3s", stdin=b"")
    assert said.code == 1
    assert "the input is empty" in said.err


def test_a_reject_file_that_cannot_be_made_ends_it_before_anything_was_done(commands: Commands, file: Path) -> None:
    file.write_bytes(ndjson(["a"]))
    said = commands("backfill", file, "--rejects", "/nowhere/x")
    why = (
        "subkeeper: /nowhere/x: No such file or directory. No line is done yet; to go on, run the same command again.\n"
    )
    assert (said.code, said.err) == (1, why)
    assert commands("backfill", file).err == ""


def test_an_input_without_a_good_line_fails(commands: Commands) -> None:
    for option in ("--dry-run", "--fail-if-new", "--allow-empty"):
        said = commands("backfill", "-", option, stdin=b'{"id":7}\n' * 3)
        assert said.code == 1
        assert "every record was rejected" in said.err
        assert "3 records: 0 " in said.out


def test_a_pipe_that_is_shorter_than_where_to_go_on_is_not_taken_for_done(commands: Commands) -> None:
    lines = ndjson(["a", "b", "c"])
    assert commands("backfill", "-", "--resume-after", "3", stdin=lines).code == 0
    for content in (b"", ndjson(["a", "b"])):
        said = commands("backfill", "-", "--resume-after", "3", stdin=content)
        assert said.code == 1
        assert "was to go on after line 3" in said.err


def test_a_dry_run_finds_what_is_new_and_says_that_it_did_nothing(commands: Commands) -> None:
    said = commands("backfill", "-", "--dry-run", "--fail-if-new", stdin=ndjson(["a"]))
    assert said.code == 3
    assert said.out.startswith("Dry run: nothing was published.\n")


def test_profiles_that_no_worker_could_use_fail_a_run_that_waited(stack: Stack, commands: Commands) -> None:
    stack.start_worker(SUBKEEPER_MESSAGE__ID="/user/id")  # maps the messages otherwise than this command does
    said = commands("backfill", "-", "--wait", stdin=ndjson(["a"]))
    assert said.code == 1
    assert "look at the quarantine" in said.err


def test_the_input_is_never_overwritten_by_its_rejects(commands: Commands, file: Path) -> None:
    file.write_bytes(b"bad\n")
    assert commands("backfill", file, "--rejects", file).code == 2
    assert file.read_bytes() == b"bad\n"


def test_without_the_schema_it_says_what_to_run(commands: Commands, empty_database_url: str) -> None:
    said = commands("backfill", "-", SUBKEEPER_DATABASE__URL=empty_database_url)
    assert said.code == 2
    assert "subkeeper db upgrade" in said.err


def test_a_depth_that_nobody_tells_is_a_setting_to_change(commands: Commands) -> None:
    unknown = {"SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES": ""}
    said = commands("backfill", "-", stdin=ndjson(["a"]), **unknown)
    assert said.code == 2
    assert "NSQD_HTTP_ADDRESSES" in said.err or "nsq.nsqd_http_addresses" in said.err
    assert commands("backfill", "-", "--max-depth", "0", stdin=ndjson(["a"]), **unknown).code == 0


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
@pytest.mark.parametrize("content", [ndjson(names(500)) + b"bad\n" + b"\n" * 5000, HEADER * 300 + b"a,,,\n" * 9])
def test_on_a_terminal_it_shows_how_far_it_is(
    commands: Commands, file: Path, option: tuple[str, ...], content: bytes
) -> None:
    file.write_bytes(content)
    said = commands.on_a_terminal("backfill", file, *option)
    assert said.code == 0
    assert re.findall(r"(\d+) %", said.out)[-1] == "100"
    assert ("dry run" in said.out) == bool(option)
    assert ("publishing" in said.out) == (not option)


def test_on_a_terminal_bad_lines_are_told_above_the_bar(commands: Commands, file: Path) -> None:
    file.write_bytes(ndjson(names(500)) + b"bad\n")
    said = commands.on_a_terminal("backfill", file)
    assert "501 records" in said.out
    assert "line 501: not_json" in said.out
