from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from worker.settings.sections import LogSettings
from worker.telemetry import configure_logging


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """`configure_logging` changes the whole process; each of these tests gives it back."""
    root, loggers = logging.getLogger(), logging.getLogger().manager.loggerDict
    handlers, level = list(root.handlers), root.level
    kept = {name: list(logger.handlers) for name, logger in loggers.items() if isinstance(logger, logging.Logger)}
    hooks, show = (sys.excepthook, threading.excepthook), warnings.showwarning
    yield
    structlog.reset_defaults()
    logging.disable(logging.NOTSET)
    logging.setLogRecordFactory(logging.LogRecord)
    logging.captureWarnings(capture=False)
    warnings.showwarning = show
    sys.excepthook, threading.excepthook = hooks
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, its_handlers in kept.items():
        logging.getLogger(name).handlers[:] = its_handlers


@pytest.fixture
def stream() -> io.StringIO:
    """Where the log goes: at debug level, as JSON."""
    stream = io.StringIO()
    configure_logging(LogSettings(level="debug"), stream, secrets=["registered-secret"])
    return stream


@pytest.fixture
def lines(stream: io.StringIO) -> Callable[[], list[dict[str, Any]]]:
    """What was logged so far."""
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
