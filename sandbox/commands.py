"""`subkeeper sandbox …`: the sandbox from the command line. It needs the packages of the extra `sandbox`."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from sandbox.errors import PartFailed
from sandbox.preparing import prepare
from sandbox.sandbox import Addresses, Sandbox
from sandbox.stripe.journal import UnusableJournalError
from sandbox.stripe.server import serve

DEFAULT_SECRET_KEY = "sk_test_subkeeper_sandbox"  # noqa: S105 (opens nothing but a Stripe that is not one)
_CHECK_INTERVAL = 0.5
_unlimited = click.option(
    "--unlimited-test-clocks", is_flag=True, help="Any number of customers and subscriptions on a test clock."
)


@click.group()
def sandbox() -> None:
    """Try Subkeeper without an account, on real parts and a Stripe of its own."""


@sandbox.command(short_help="Start everything, until Ctrl-C or SIGTERM.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one line of JSON.")
@click.option("--seed", default="sandbox", show_default=True, help="What Stripe's chance is drawn from.")
@click.option(
    "--stripe-latency", type=click.FloatRange(min=0), default=0.0, show_default=True, metavar="MS",
    help="Median time that a Stripe call takes, in milliseconds.",
)  # fmt: skip
@_unlimited
def up(as_json: bool, seed: str, stripe_latency: float, unlimited_test_clocks: bool) -> None:
    """Start everything on free ports, until Ctrl-C or SIGTERM; then remove every trace."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    try:
        with Sandbox(
            prepare, seed=seed, stripe_latency=stripe_latency, unlimited_test_clocks=unlimited_test_clocks
        ) as running:
            click.echo(json.dumps(asdict(running.addresses)) if as_json else _described(running.addresses))
            while True:
                time.sleep(_CHECK_INTERVAL)
                running.check()
    except PartFailed as error:
        raise click.ClickException(str(error)) from error


@sandbox.command(
    "stripe", help="Run the sandbox's Stripe alone, until Ctrl-C or SIGTERM. It accepts the key in STRIPE_SECRET_KEY."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Where to listen; 0 for a free port.")
@click.option("--seed", default="sandbox", show_default=True, help="What its chance is drawn from.")
@click.option("--state-file", type=click.Path(path_type=Path), help="Keep its objects there; else in memory.")
@_unlimited
def stripe(host: str, port: int, seed: str, state_file: Path | None, unlimited_test_clocks: bool) -> None:
    own_key = os.environ.get("STRIPE_SECRET_KEY")
    secret_key = own_key or DEFAULT_SECRET_KEY
    unwritable: list[OSError] = []

    def ready(url: str) -> None:
        said = {"stripe_api_base": url} | ({} if own_key else {"stripe_secret_key": secret_key})
        try:
            click.echo(json.dumps(said))
        except OSError as error:
            unwritable.append(error)
            raise

    try:
        serve(
            host,
            port,
            secret_key=secret_key,
            seed=seed,
            ready=ready,
            state_file=state_file,
            unlimited_test_clocks=unlimited_test_clocks,
        )
    except OSError as error:
        if error in unwritable:
            raise
        raise click.ClickException(_unable(error, host, port)) from error
    except UnusableJournalError as error:
        raise click.ClickException(
            f"--state-file: {error}; name a file that `sandbox stripe` made, or a new one"
        ) from error


def _unable(error: OSError, host: str, port: int) -> str:
    """What kept Stripe from starting: its file, or its address."""
    if error.filename is not None:
        return f"--state-file: {error.filename}: {error.strerror}"
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another process: give another --port, or 0 for a free one"
    if isinstance(error, socket.gaierror) or error.errno in {
        errno.EADDRNOTAVAIL,
        None,
    }:  # None: asyncio's, from 3.13 on
        return f"--host: {host} is not an address of this machine; use 127.0.0.1"
    return f"can't listen on {where}: {error.strerror}"


def _stop(*_: object) -> NoReturn:
    """Unwinds what is under way, once: what is being cleaned up then is not interrupted."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    sys.exit(0)


def _described(addresses: Addresses) -> str:
    """An address a line, so that a terminal breaks none that it has room for."""
    lines = {name.replace("_", " "): address for name, address in asdict(addresses).items()}
    width = max(map(len, lines)) + 2
    told = [f"  {name:<{width}}{address}" for name, address in lines.items()]
    return "\n".join(["Up:", *told, "Use it with --config and that file; Ctrl-C ends it."])
