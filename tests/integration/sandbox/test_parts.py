"""Each part can be started, stopped, killed, restarted and held, and keeps what a real one keeps."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import psycopg
import pytest

from sandbox import ports
from sandbox.errors import PartFailed
from sandbox.nsq import Nsqd, Nsqlookupd
from sandbox.part import Part
from sandbox.postgres import PostgresServer
from sandbox.stripe.control import Control
from sandbox.stripe_process import StripeProcess
from sandbox.workspace import Workspace
from tests.conftest import NewNsqd

STRIPE_KEY = "sk_test_of_these_tests"


@pytest.fixture(params=[Nsqd, Nsqlookupd, PostgresServer, partial(StripeProcess, secret_key=STRIPE_KEY)])
def part(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[Part]:
    make: Callable[[Workspace], Part] = request.param
    with make(workspace) as part:
        yield part


def test_a_started_part_answers_and_a_stopped_one_does_not(part: Part) -> None:
    assert part.answers()
    part.stop()
    assert (part.running, part.answers()) == (False, False)


def test_a_part_can_be_stopped_twice_and_comes_back_on_the_same_ports(part: Part) -> None:
    before = part.command()
    part.stop()
    part.stop()
    part.start()
    assert part.command() == before
    assert part.answers()


def test_a_killed_part_leaves_no_process_and_starts_again(part: Part) -> None:
    members = [psutil.Process(part.pid), *psutil.Process(part.pid).children(recursive=True)]
    part.kill()
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)
    assert not part.answers()
    part.start()
    assert part.answers()


def test_a_paused_part_keeps_connections_and_answers_nothing_until_resumed(part: Part) -> None:
    part.pause()
    with socket.create_connection(("127.0.0.1", min(part.ports())), timeout=5) as connection:
        connection.settimeout(0.2)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
    part.resume()
    assert part.answers()


def test_a_paused_part_can_be_stopped(part: Part) -> None:
    part.pause()
    part.stop()
    assert not part.running


def test_the_pid_of_a_part_that_does_not_run_is_an_error_that_names_it(part: Part) -> None:
    part.stop()
    with pytest.raises(PartFailed, match=f"{part.name}: it is not running"):
        _ = part.pid


def test_a_part_that_cannot_start_says_so_with_its_log(workspace: Workspace) -> None:
    with pytest.raises(PartFailed, match="no such file or directory"):
        Nsqd(workspace, flags=["--tls-cert=/none.pem", "--tls-key=/none.key"]).start()


def test_a_part_whose_port_was_taken_tries_another(
    workspace: Workspace, nsqd: Nsqd, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_free, offered = ports.free_port, iter([nsqd.tcp_port, nsqd.http_port])
    monkeypatch.setattr(ports, "free_port", lambda: next(offered, None) or really_free())
    with Nsqlookupd(workspace) as late:
        assert late.tcp_port != nsqd.tcp_port
        assert late.answers()


def test_nsqd_keeps_queued_messages_over_a_kill(new_nsqd: NewNsqd, topic: str) -> None:
    nsqd = new_nsqd()
    nsqd.create_channel(topic, "channel")
    nsqd.publish(topic, b"one", b"two", b"three")
    _until(lambda: nsqd.channel(topic, "channel").get("depth", 0) > 0)
    nsqd.restart()
    assert nsqd.channel(topic, "channel")["depth"] == 3
    nsqd.kill()
    nsqd.start()
    assert nsqd.channel(topic, "channel")["depth"] == 3


def test_nsqd_registers_its_topics_with_nsqlookupd(nsqd: Nsqd, nsqlookupd: Nsqlookupd, topic: str) -> None:
    nsqd.create_topic(topic)
    _until(lambda: topic.encode() in nsqlookupd.http("GET", "/topics"))
    assert f'"tcp_port":{nsqd.tcp_port}'.encode() in nsqlookupd.http("GET", "/lookup", topic=topic)


def test_what_nsqd_refuses_is_an_error_with_its_answer(nsqd: Nsqd) -> None:
    with pytest.raises(PartFailed, match="INVALID_TOPIC"):
        nsqd.create_topic("no spaces")


def test_postgres_keeps_what_was_committed_over_a_kill(new_postgres: Callable[[], PostgresServer]) -> None:
    server = new_postgres()
    with psycopg.connect(server.create_database("kept")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS answer")
    server.kill()
    server.start()
    with psycopg.connect(server.database_url("kept")) as connection:
        assert connection.execute("SELECT answer FROM t").fetchone() == (42,)


def test_postgres_is_as_durable_as_in_production_and_dates_its_commits(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.database_url()) as connection:
        for setting in ("fsync", "synchronous_commit", "track_commit_timestamp"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_postgres_stops_at_once_though_a_client_is_connected(new_postgres: Callable[[], PostgresServer]) -> None:
    server = new_postgres()
    with psycopg.connect(server.database_url()):
        began = time.monotonic()
        server.stop()
    assert time.monotonic() - began < 5


def test_each_test_has_a_database_of_its_own_with_the_schema(database_url: str, empty_database_url: str) -> None:
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'provisionings'"
    with psycopg.connect(database_url) as connection:
        assert connection.execute(tables).fetchone() == (1,)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute(tables).fetchone() == (0,)


def test_stripe_serves_its_control_endpoint(workspace: Workspace) -> None:
    with StripeProcess(workspace, secret_key=STRIPE_KEY) as stripe:
        assert Control(stripe.api_base).health()["account"].startswith("acct_")


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "nothing of the kind within 10 s"
        time.sleep(0.01)
