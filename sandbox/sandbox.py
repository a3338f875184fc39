"""The whole sandbox: every part on free ports, and a configuration for Subkeeper that points at them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sandbox import binaries, ports
from sandbox.config_file import write_config
from sandbox.errors import PartFailed
from sandbox.nsq import Nsqd, Nsqlookupd
from sandbox.part import Part
from sandbox.postgres import PostgresServer
from sandbox.stripe.control import Control
from sandbox.stripe_process import StripeProcess
from sandbox.workspace import Workspace
from worker.accounts.tokens import new_token
from worker.domain.event import TYPES

Prepare = Callable[[Path], None]
"""Makes a fresh sandbox ready for Subkeeper (schema, plans, topics), given the path of its configuration.

It should read that file alone: a key for the real Stripe in the environment would win over the sandbox's.
"""

DATABASE = "subkeeper"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is. `nsqd_tcp`, `nsqd_http`, `nsqlookupd_http`, `web` are `host:port`; `config` is a file.

    `web`: where a process with that configuration and a webhook listens. `webhook_url`: where Stripe delivers its
    events to, signed with `stripe_webhook_secret`, whether anybody listens yet or not. `admin_token`: an admin's
    of the API.
    """

    nsqd_tcp: str
    nsqd_http: str
    nsqlookupd_http: str
    database_url: str
    stripe_api_base: str
    stripe_secret_key: str
    web: str
    webhook_url: str
    stripe_webhook_secret: str
    admin_token: str
    config: str


class Sandbox:
    """nsqd, nsqlookupd, Postgres and Stripe: up inside the `with` block, gone without a trace after it.

    `stripe_latency` is the median of what each Stripe call takes, in milliseconds (0: as fast as it can);
    `seed` decides Stripe's chance; `unlimited_test_clocks` lifts Stripe's limits of objects on a test clock. Raises
    `PartFailed` when a part does not start.
    """

    def __init__(
        self,
        prepare: Prepare,
        *,
        seed: str = "sandbox",
        stripe_latency: float = 0.0,
        unlimited_test_clocks: bool = False,
    ) -> None:
        self._prepare = prepare
        self._seed = seed
        self._stripe_latency = stripe_latency
        self._unlimited_test_clocks = unlimited_test_clocks

    def __enter__(self) -> Self:
        for build in (binaries.nsqd, binaries.nsqlookupd):  # here, where a signal interrupts it, not in a thread
            build()
        self.workspace = Workspace()
        try:
            self._start()
        except BaseException:
            self.workspace.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(Part.stop, self.parts))
        finally:
            self.workspace.close()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every server of the sandbox."""
        return (self.nsqlookupd, self.nsqd, self.postgres, self.stripe)

    def check(self) -> None:
        """Raises `PartFailed` when a part has ended by itself."""
        for part in self.parts:
            if not part.running:
                raise PartFailed(part.name, f"it ended by itself\n{part.log_end()}")

    def _start(self) -> None:
        self.nsqlookupd = Nsqlookupd(self.workspace)
        self.nsqd = Nsqd(self.workspace, lookupds=[self.nsqlookupd])
        self.postgres = PostgresServer(self.workspace)
        key = f"sk_test_{secrets.token_hex(16)}"
        self.stripe = StripeProcess(
            self.workspace, secret_key=key, seed=self._seed, unlimited_test_clocks=self._unlimited_test_clocks
        )
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda start: start(), (self._start_nsq, self._start_postgres, self._start_stripe)))
        self.addresses = self._write_addresses()
        to = self.addresses
        Control(to.stripe_api_base).listen(to.webhook_url, *TYPES, secret=to.stripe_webhook_secret)
        self._prepare(Path(self.addresses.config))

    def _start_nsq(self) -> None:
        self.nsqlookupd.start()
        self.nsqd.start()

    def _start_postgres(self) -> None:
        self.postgres.start()
        self.postgres.create_database(DATABASE)

    def _start_stripe(self) -> None:
        self.stripe.start()
        if self._stripe_latency:
            Control(self.stripe.api_base).latency(dist="lognormal", median=self._stripe_latency, sigma=0.3)

    def _write_addresses(self) -> Addresses:
        web_port, webhook_secret = ports.free_port(), f"whsec_{secrets.token_hex(16)}"
        admin = new_token()
        config = write_config(
            self.workspace.path,
            database_url=self.postgres.database_url(DATABASE),
            nsqd_tcp=self.nsqd.tcp_address,
            nsqlookupd_http=self.nsqlookupd.http_address,
            stripe_api_base=self.stripe.api_base,
            stripe_key=self.stripe.secret_key,
            web_port=web_port,
            webhook_secret=webhook_secret,
            admin_digest=admin.digest,
        )
        return Addresses(
            nsqd_tcp=self.nsqd.tcp_address,
            nsqd_http=self.nsqd.http_address,
            nsqlookupd_http=self.nsqlookupd.http_address,
            database_url=self.postgres.database_url(DATABASE),
            stripe_api_base=self.stripe.api_base,
            stripe_secret_key=self.stripe.secret_key,
            web=f"127.0.0.1:{web_port}",
            webhook_url=f"http://127.0.0.1:{web_port}/stripe/webhook",
            stripe_webhook_secret=webhook_secret,
            admin_token=admin.token,
            config=str(config),
        )
