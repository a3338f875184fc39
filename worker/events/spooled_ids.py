"""Ids of Stripe's on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Self


class SpooledIds:
    """As many ids as there are, in constant memory: in a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed with this object

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, identifier: str) -> None:
        self._file.write(identifier + "\n")

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        for line in self._file:
            yield line.rstrip("\n")
