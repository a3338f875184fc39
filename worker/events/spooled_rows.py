"""Rows that are to be asked for, on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Self

from worker.store.drift import Unseen


class SpooledRows:
    """As many rows as there are, in constant memory: in a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed with this object

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, each: Unseen) -> None:
        self._file.write(f"{each.row} {each.stripe_subscription_id}\n")

    def __iter__(self) -> Iterator[Unseen]:
        self._file.seek(0)
        for line in self._file:
            row, identifier = line.split()
            yield Unseen(int(row), identifier)
