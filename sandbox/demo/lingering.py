"""After the demo: everything goes on until somebody ends it, and where to look is told."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import click

from sandbox.demo.doors import Door
from sandbox.sandbox import Sandbox

_CHECK_INTERVAL = 0.5


def linger(sandbox: Sandbox, doors: Sequence[Door]) -> None:
    """Until Ctrl-C or SIGTERM. Raises `PartFailed` where a part has ended by itself."""
    with _ended_by_signals():
        click.echo(described(sandbox.addresses.config, sandbox.addresses.stripe_api_base, doors))
        while True:
            time.sleep(_CHECK_INTERVAL)
            sandbox.check()


def described(config: str, stripe: str, doors: Sequence[Door]) -> str:
    """An address a line, so that a terminal breaks none that it has room for."""
    command = f"subkeeper --config {shlex.quote(config)}"
    lines = ["", "All goes on. Cards: 4242424242424242 pays, 4000000000000002 is declined, 4000002500003155 asks."]
    for door in doors:
        lines += ["", f"{door.user_id} {door.does}:", f"  {door.url}", f"  {command} explain {door.user_id}"]
    return "\n".join([*lines, "", f"Stripe's API: {stripe}", "Ctrl-C ends it."])


class _Ended(Exception):
    """By a signal."""


def _end(*_: object) -> NoReturn:
    raise _Ended


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM leave the block; what is stopped after it isn't interrupted by another."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        signal.signal(number, _end)
    try:
        with suppress(_Ended):
            yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
