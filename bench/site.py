"""One deployment: a broker, a database, a Stripe account, and workers on them as in production."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psycopg

from bench.bare_chain import READY
from sandbox import ports
from sandbox.config_file import write_config
from sandbox.demo.worker import WorkerProcess, environment_without_settings
from sandbox.nsq import Nsqd, Nsqlookupd
from sandbox.postgres import PostgresServer
from sandbox.stripe.control import Control
from sandbox.stripe_process import StripeProcess
from sandbox.workspace import Workspace
from worker.broker.publisher import Publisher
from worker.settings.model import Settings

UNLIMITED = {"STRIPE__REQUESTS_PER_SECOND": "100000", "STRIPE__ENDPOINT_REQUESTS_PER_SECOND": "100000"}
"""Settings of a worker that its own limiter never holds back."""

_FRAME = 500


class BenchWorker(WorkerProcess):
    """A process that does `job`; no setting of ours or of Stripe's that is in the environment reaches it."""

    def __init__(self, workspace: Workspace, config: Path, settings: Mapping[str, str], job: str = "profiles") -> None:
        super().__init__(workspace, config)
        self._job = job
        self._settings = _environment(settings)

    def command(self) -> list[str]:
        return [*super().command()[:-1], self._job]

    def environment(self) -> dict[str, str]:
        return super().environment() | self._settings


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"SUBKEEPER_{name}": value for name, value in settings.items()}


SECRET = "whsec_0123456789abcdef0123456789abcdef"


class BenchWeb(BenchWorker):
    """A process with a webhook (`web`, or `all`), whose secret is `SECRET`."""

    name: ClassVar[str] = "web"

    def choose_ports(self) -> None:
        super().choose_ports()
        self.web_port = ports.free_port()

    def ports(self) -> set[int]:
        return {*super().ports(), self.web_port}

    def environment(self) -> dict[str, str]:
        own = {"SUBKEEPER_WEB__PORT": str(self.web_port), "STRIPE_WEBHOOK_SECRETS": f"main={SECRET}"}
        return super().environment() | own


class Site:
    """See `Stand.site`."""

    def __init__(
        self,
        workspace: Workspace,
        directory: Path,
        database: str,
        database_url: str,
        nsqd: Nsqd,
        lookupd: Nsqlookupd,
        postgres: PostgresServer,
        stripe: StripeProcess,
    ) -> None:
        self.directory = directory
        self.database = database
        self.database_url = database_url
        self.nsqd = nsqd
        self.postgres = postgres
        self.stripe = stripe
        self.control = Control(stripe.api_base)
        self.workspace = workspace
        self.config = write_config(
            directory,
            database_url=database_url,
            nsqd_tcp=nsqd.tcp_address,
            nsqlookupd_http=lookupd.http_address,
            stripe_api_base=stripe.api_base,
            stripe_key=stripe.secret_key,
            web_port=0,
            webhook_secret=SECRET,
        )
        self.command_log = self.config.with_name("command.log")
        self.settings = Settings.load(self.config, {})

    def worker(self, settings: Mapping[str, str] = UNLIMITED, job: str = "profiles") -> BenchWorker:
        """A worker that is not started yet, `settings` (`SETTLE__THREADS`, …) over the site's configuration."""
        return BenchWorker(self.workspace, self.config, settings, job)

    def web(self, settings: Mapping[str, str] = UNLIMITED, job: str = "web") -> BenchWeb:
        """A process with a webhook that is not started yet."""
        return BenchWeb(self.workspace, self.config, settings, job)

    def spawn(self, *arguments: str, settings: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """`subkeeper <arguments>` on the site's configuration and these settings, its output in `command_log`."""
        command = [sys.executable, "-m", "worker", "--config", str(self.config), *arguments]
        env = environment_without_settings() | _environment(settings or {})
        return self.workspace.spawn(command, log=self.command_log, stop_signal=signal.SIGTERM, env=env)

    @contextmanager
    def serving(self, module: str, *arguments: str) -> Iterator[int]:
        """The port on which `python -m <module> PORT <arguments>` answers, for as long as the block takes."""
        port = ports.free_port()
        command = [sys.executable, "-m", module, str(port), *arguments]
        process = self.workspace.spawn(command, log=self.directory / f"{module}.log", stop_signal=signal.SIGTERM)
        try:
            wait_until(lambda: ports.answers(port), 10, f"{module} answers")
            yield port
        finally:
            process.terminate()
            process.wait()

    def ask_stripe(self, method: str, path: str, **params: str) -> Any:
        """What Stripe answers."""
        query, body = (f"?{urlencode(params)}", None) if method == "GET" else ("", urlencode(params).encode())
        headers = {"Authorization": f"Bearer {self.stripe.secret_key}"}
        request = Request(self.stripe.api_base + path + query, body, headers, method=method)
        with urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    @contextmanager
    def bare_chain(self) -> Iterator[subprocess.Popen[bytes]]:
        """`bench.bare_chain` in the place of a worker, for as long as the block takes. Raises where it has ended."""
        log = self.config.with_name("bare-chain.log")
        command = [sys.executable, "-m", "bench.bare_chain", str(self.config)]
        process = self.workspace.spawn(command, log=log, stop_signal=signal.SIGTERM, env=environment_without_settings())
        try:
            wait_until(lambda: READY in log.read_text() or process.poll() is not None, 30, "the bare chain reads")
            yield process
            if process.poll() is not None:
                raise RuntimeError(f"the bare chain has ended: {log.read_text()[-2000:]}")
        finally:
            process.terminate()
            process.wait()

    def publish(self, bodies: Sequence[bytes], rng: random.Random, topic: str | None = None) -> None:
        """Publishes these, profiles unless another topic is given, and returns once nsqd has them all."""
        publisher = Publisher(self.settings.nsq, rng=rng)
        try:
            for start in range(0, len(bodies), _FRAME):
                publisher.publish(topic or self.settings.nsq.profile_topic, bodies[start : start + _FRAME], timeout=60)
        finally:
            publisher.close()

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows that a statement returns, run on a connection of its own."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        """Forgets every profile, and leaves Postgres nothing to write that is older."""
        self.execute("TRUNCATE provisionings, billing_customers, subscription_changes, subscription_refreshes CASCADE")
        self.execute("CHECKPOINT")

    def completed(self, prefix: str) -> list[datetime]:
        """When the profiles whose ids begin with `prefix` were completed, in that order."""
        found = self.execute(
            "SELECT completed_at FROM provisionings WHERE user_id >= %s AND user_id < %s AND completed_at IS NOT NULL"
            " ORDER BY completed_at",
            prefix,
            prefix + "~",
        )
        return [row[0] for row in found]


def wait_until(condition: Callable[[], bool], timeout: float, what: str, interval: float = 0.05) -> None:
    """Returns once `condition` holds; raises `TimeoutError` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(interval)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
