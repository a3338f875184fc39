"""What libraries say when descriptors run out fits on a page."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until

SPARE = 5
"""Descriptors that are left to the worker."""


def test_a_worker_without_descriptors_does_not_fill_the_disk_and_recovers(stack: Stack) -> None:
    worker = stack.spawn_worker()
    wait_until(worker.is_ready)
    pid = worker.process.pid
    opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    before = resource.prlimit(
        pid, resource.RLIMIT_NOFILE, (opened + SPARE, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    with ExitStack() as connections:
        for _ in range(50):
            connections.enter_context(socket.create_connection(("127.0.0.1", worker.port)))
        size, began = len(worker.text), time.monotonic()
        time.sleep(3)  # what is measured is a rate
        rate = (len(worker.text) - size) / (time.monotonic() - began)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert rate < 20_000, "bytes a second; 1.8 million without a bound"
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    wait_until(worker.is_ready)
    tries = worker.metric("subkeeper_log_lines_lost_total", reason="repeated")
    assert tries < 200, "each is a vain try to accept a connection; thousands a second burn a core"
