"""The demo's workers, and on a bad day who kills them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sandbox.demo.worker import WorkerProcess
from sandbox.sandbox import Sandbox

ROLES, CHAOS_ROLES = ("all",), ("all", "profiles", "events")
"""What each process runs. Of those with a webhook, one can have its port."""

KILL_EVERY = (1.0, 3.0)
"""Seconds between two kills of a worker, drawn evenly."""


@contextmanager
def at_work(sandbox: Sandbox, environ: Mapping[str, str], *, chaos: bool) -> Iterator[Sequence[WorkerProcess]]:
    """Workers, ready; they drain in the end."""
    roles, config = CHAOS_ROLES if chaos else ROLES, Path(sandbox.addresses.config)
    workers = [WorkerProcess(sandbox.workspace, config, role, environ) for role in roles]
    with ExitStack() as stack:
        for worker in workers:
            stack.enter_context(worker)
        yield workers


@contextmanager
def killing(workers: Sequence[WorkerProcess], rng: random.Random) -> Iterator[None]:
    """SIGKILLs one of them every now and then, and starts it again, as a supervisor would. Raises `PartFailed` at the
    end where one didn't start."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(rng.uniform(*KILL_EVERY)):
            worker = rng.choice(workers)
            worker.kill()
            worker.start()

    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(kill)
        try:
            yield
        finally:
            over.set()
        killer.result()
