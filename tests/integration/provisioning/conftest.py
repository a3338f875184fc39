"""A deployment for each test (`stack`), and more of them on demand (`new_stack`)."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from sandbox.nsq import Nsqd
from sandbox.stripe.server import StripeServer
from tests.support.stack import Stack, StripeAccount
from worker.runtime import budget, watch
from worker.stripe_api import catalogue
from worker.work import halting


class NewStack(Protocol):
    """Makes a deployment; what is not given is the test's own. `environ` is for its workers."""

    def __call__(
        self,
        *,
        nsqd: Nsqd | None = None,
        database_url: str | None = None,
        stripe: StripeAccount | None = None,
        topics: tuple[str, str, str] | None = None,
        **environ: str,
    ) -> Stack: ...


@pytest.fixture
def closing(database_url: str) -> Iterator[ExitStack]:
    """Ends what a test began, latest first, before its database is dropped."""
    with ExitStack() as closing:
        yield closing


@pytest.fixture
def new_stack(
    closing: ExitStack,
    nsqd: Nsqd,
    database_url: str,
    tmp_path: Path,
    new_topic: Callable[[], str],
    rng: random.Random,
) -> NewStack:
    shared_nsqd, own_database_url = nsqd, database_url

    def make(
        *,
        nsqd: Nsqd | None = None,
        database_url: str | None = None,
        stripe: StripeAccount | None = None,
        topics: tuple[str, str, str] | None = None,
        **environ: str,
    ) -> Stack:
        return Stack(
            closing,
            directory=tmp_path,
            database_url=database_url or own_database_url,
            nsqd=nsqd or shared_nsqd,
            topics=topics or (new_topic(), new_topic(), new_topic()),
            stripe=stripe or closing.enter_context(StripeServer(seed=secrets.token_hex(8))),
            rng=rng,
            environ=environ,
        )

    return make


@pytest.fixture
def stack(new_stack: NewStack) -> Stack:
    """A deployment that is set up, without a worker yet."""
    stack = new_stack()
    stack.prepare()
    return stack


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in this process that was halted tries again after 0.2 s, not after 5, and as often looks at Postgres."""
    monkeypatch.setattr(halting, "PROBE_INTERVAL", 0.2)
    monkeypatch.setattr(halting, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(catalogue, "RECHECK_INTERVAL", 0.2)
    monkeypatch.setattr(watch, "WATCH_INTERVAL", 0.2)
    monkeypatch.setattr(budget, "RENEWAL", 0.2)
