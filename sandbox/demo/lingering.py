"""After the demo: everything goes on until somebody ends it, and where to look is told."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import click

from sandbox.demo.doors import Door
from sandbox.sandbox import Addresses, Sandbox

_CHECK_INTERVAL = 0.5

CARDS = {"4242424242424242": "pays", "4000000000000002": "is declined", "4000002500003155": "asks for its owner"}


def linger(sandbox: Sandbox, doors: Sequence[Door]) -> None:
    """Until Ctrl-C or SIGTERM. Raises `PartFailed` where a part has ended by itself."""
    with _ended_by_signals():
        click.echo(described(sandbox.addresses, doors))
        while True:
            time.sleep(_CHECK_INTERVAL)
            sandbox.check()


def described(addresses: Addresses, doors: Sequence[Door]) -> str:
    """An address a line, so that a terminal breaks none that it has room for."""
    command = f"{_program()} --config {shlex.quote(addresses.config)}"
    lines = ["", "All goes on. Cards:"]
    lines += [f"  {card} {does}" for card, does in CARDS.items()]
    for door in doors:
        lines += ["", f"{door.user_id} {door.does}:", f"  {door.url}", f"  {command} explain {door.user_id}"]
    web = f"http://{addresses.web}"
    lines += ["", "Plans to choose from: pending, pro. By the API, as an admin (docs/api.md):"]
    lines += [f"  API={web}", f"  ADMIN_TOKEN={addresses.admin_token}"]
    lines += ["", f"Ops page: {web}/ops", f"Stripe's API: {addresses.stripe_api_base}", "Ctrl-C ends it."]
    return "\n".join(lines)


def _program() -> str:
    """`subkeeper` as a shell finds it here: that of `make demo` is in a folder that isn't on PATH."""
    if shutil.which("subkeeper"):
        return "subkeeper"
    path, here = Path(sys.executable).with_name("subkeeper"), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


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
