"""`subkeeper sandbox up` as a user has it: what it prints is all that the other commands need."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from sandbox.demo.worker import environment_without_settings
from tests.support.forked import SUBKEEPER
from tests.support.waiting import wait_until


@contextmanager
def running(*arguments: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`subkeeper <arguments>`; killed if it is left."""
    command = [str(SUBKEEPER), *arguments]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True, env=environ) as program:
        try:
            yield program
        finally:
            program.kill()


def heard(database_url: str) -> set[tuple[str, str]]:
    """Stripe's events that were taken in: type, and the way they came."""
    with psycopg.connect(database_url) as connection:
        return set(connection.execute("SELECT type, source FROM processed_stripe_events").fetchall())


def test_a_profile_published_to_a_fresh_sandbox_is_provisioned_and_stripe_s_webhooks_are_heard() -> None:
    with running("sandbox", "up", "--json", environ=environment_without_settings()) as sandbox:
        assert sandbox.stdout is not None
        addresses: dict[str, Any] = json.loads(sandbox.stdout.readline())
        settings = {"SUBKEEPER_CONFIG": addresses["config"], "SUBKEEPER_HEALTH__PORT": "0"}
        environ = environment_without_settings() | settings

        def subkeeper(*arguments: str) -> str:
            command = [str(SUBKEEPER), *arguments]
            return subprocess.run(command, check=False, capture_output=True, text=True, env=environ).stdout

        assert "agree" in subkeeper("db", "check")
        done = [line for line in subkeeper("setup").splitlines() if not line.startswith("deployment: ")]
        assert len(done) == 9, done
        assert all(line.endswith((" was there", " names this database")) for line in done), done
        with running("run", "all", environ=environ) as worker:
            subkeeper("publish", "--id", "ada", "--email", "ada@example.org", "--name", "Ada")
            wait_until(lambda: '"sub_' in subkeeper("provisioning", "show", "ada", "--json"), timeout=20)
            wait_until(lambda: ("customer.subscription.created", "webhook") in heard(addresses["database_url"]))
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
        sandbox.send_signal(signal.SIGTERM)
        assert sandbox.wait(30) == 0
