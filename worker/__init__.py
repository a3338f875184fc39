"""Subkeeper's worker. Start at `runtime.process`; what the rooms are is in docs/design.md, *Where things are*."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imported_without(*packages: str) -> Iterator[None]:
    """Libraries that would use `packages` wherever they are installed do without: a worker starts the sooner, and alike
    with and without the sandbox's libraries. Whoever imports them later gets them."""
    absent = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: the import system's word for absent
    try:
        yield
    finally:
        for package in absent:
            del sys.modules[package]
