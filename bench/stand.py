"""The parts that all benchmarks of a run share, and a fresh deployment on them for each."""

from __future__ import annotations

import itertools
import random
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from bench.site import Site
from sandbox.nsq import Nsqd, Nsqlookupd
from sandbox.postgres import PostgresServer
from sandbox.stripe.control import Control
from sandbox.stripe_process import StripeProcess
from sandbox.workspace import Workspace
from worker.runtime.setup import setup
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database
from worker.store.engine.migrations import upgrade

IN_MEMORY = ("--mem-queue-size=200000", "--sync-every=2500")
"""nsqd as it is by default, but with room for a whole backlog: no message waits on its disk."""

ON_DISK = ("--mem-queue-size=0", "--sync-every=2500")
ON_DISK_SYNCED = ("--mem-queue-size=0", "--sync-every=1")
"""Every message through its disk queue; with the sandbox's flags, the latter, it also fsyncs for each."""

_TEMPLATE = "bench_template"


class Stand:
    """Postgres (fsync on, on TMPDIR's disk), nsqlookupd and Stripe: up inside the `with` block, then gone."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.workspace = stack.enter_context(Workspace(Path(tempfile.gettempdir())))
            self.lookupd = stack.enter_context(Nsqlookupd(self.workspace))
            self.postgres = stack.enter_context(PostgresServer(self.workspace))
            key = f"sk_test_{secrets.token_hex(16)}"
            self.stripe = stack.enter_context(StripeProcess(self.workspace, secret_key=key, seed="bench"))
            self._make_template()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def site(self, rng: random.Random, flags: Sequence[str] = IN_MEMORY) -> Iterator[Site]:
        """A deployment of its own, set up, at a Stripe with an empty account, no latency and no limit."""
        Control(self.stripe.api_base).reset()
        name = self._new_name()
        with Nsqd(self.workspace, lookupds=[self.lookupd], flags=flags) as nsqd:
            site = self._site(name, nsqd, template=_TEMPLATE)
            for _ in setup(site.settings, rng):
                pass
            yield site
        self.postgres.drop_database(name)

    def beside(self, site: Site) -> Site:
        """The same broker and Stripe with a copy of the site's database, which nobody may be connected to."""
        return self._site(self._new_name(), site.nsqd, template=site.database)

    def _site(self, name: str, nsqd: Nsqd, template: str) -> Site:
        url = self.postgres.create_database(name, template)
        directory = self.workspace.path / name
        directory.mkdir()
        return Site(self.workspace, directory, name, url, nsqd, self.lookupd, self.postgres, self.stripe)

    def _new_name(self) -> str:
        return f"bench_{next(self._numbers)}"

    def _make_template(self) -> None:
        url = self.postgres.create_database(_TEMPLATE)
        database = Database(DatabaseSettings(url=SecretStr(url)))
        with database.connection() as connection:
            upgrade(connection)
        database.close()
