"""Who waits in this process for a change that was asked for to end."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from uuid import UUID
from weakref import WeakValueDictionary

from worker.store.told_changes import ToldChange


class Waiting:
    """Whoever waits keeps what `expect` returns; who left is forgotten. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: WeakValueDictionary[UUID, Future[ToldChange]] = WeakValueDictionary()

    def expect(self, change_id: UUID) -> Future[ToldChange]:
        """What is told of the change, once it has ended here. Another process may end it: look for that, too."""
        with self._lock:
            found = self._expected.get(change_id)
            if found is None:
                self._expected[change_id] = found = Future()
            return found

    def ended(self, told: ToldChange) -> None:
        with self._lock:
            found = self._expected.pop(told.id, None)
        if found is not None:
            found.set_result(told)
