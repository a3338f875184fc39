"""A deployment for each test (`stack`), and the commands on it as people run them (`commands`)."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox.nsq import Nsqd
from sandbox.stripe.server import StripeServer
from sandbox.workspace import Workspace
from tests.support.commands import Commands
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def quick_nsqd(workspace: Workspace) -> Iterator[Nsqd]:
    """A broker that does not fsync each message, for tests that publish thousands."""
    with Nsqd(workspace, flags=["--mem-queue-size=100000", "--sync-every=2500"]) as nsqd:
        yield nsqd


@pytest.fixture
def stack(
    database_url: str, quick_nsqd: Nsqd, tmp_path: Path, new_topic: Callable[[], str], rng: random.Random
) -> Iterator[Stack]:
    """A deployment that is set up, without a worker yet."""
    with ExitStack() as closing:
        directory = tmp_path / "stack"
        directory.mkdir()
        stack = Stack(
            closing,
            directory=directory,
            database_url=database_url,
            nsqd=quick_nsqd,
            topics=(new_topic(), new_topic(), new_topic()),
            stripe=closing.enter_context(StripeServer(seed=secrets.token_hex(8))),
            rng=rng,
            environ={},
        )
        stack.prepare()
        yield stack


@pytest.fixture
def commands(stack: Stack, tmp_path: Path) -> Commands:
    """Runs `subkeeper` in `tmp_path`."""
    return Commands(stack, tmp_path)
