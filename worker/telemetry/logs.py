"""Logging, set up once per process and only by `configure_logging`.

Our own events go through structlog; a field that `EVENTS` does not list is masked. The libraries' `logging` is taken
over whole:

- below WARNING it is dropped whatever level is configured. Debug and info lines of the client libraries carry message
  bodies, request parameters, SQL parameters and tokens, and none of them says what our own events don't.
- of a warning or worse, who logged it and where is printed, and its unformatted text only if that text is a constant in
  an installed library's code. Arguments, f-strings and exceptions' messages can hold a profile, so they never appear.
- this happens where records are made, so it also holds for handlers that a library adds on its own (nsq-py does).
- the same line of a library is written once a minute at most, with the number of those that were left out: without
  descriptors, an HTTP server and urllib3 logged 1.8 MB a second.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.settings.sections import LogSettings
from worker.telemetry.errors import describe
from worker.telemetry.events import EVENTS
from worker.telemetry.repeats import Repeats
from worker.telemetry.scrub import MASK, Scrubber
from worker.telemetry.stream import LogStream

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_ALWAYS = ("timestamp", "level", "event", "error")
_EVENT_NAME = re.compile(r"[a-z_]{1,40}(\.[a-z_]{1,40}){1,3}")


def configure_logging(
    settings: LogSettings,
    stream: TextIO | None,
    secrets: Iterable[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Scrubber:
    """Send every log line of this process to `stream`, one JSON object (or console line) each.

    A line that can't be written is dropped. `secrets` are masked wherever they appear; the scrubber that is returned
    takes more of them (`register`). `clock`: monotonic, in seconds.
    """
    scrubber = Scrubber(secrets)
    level = _LEVELS[settings.level]
    renderer: Processor = structlog.processors.JSONRenderer()
    if settings.format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=stream is not None and stream.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _describe_exception,
            _mask_unlisted,
            _scrub_with(scrubber),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", LogStream(stream))),
        cache_logger_on_first_use=False,
    )
    _take_over_libraries(max(level, logging.WARNING), clock)
    return scrubber


def install_crash_hooks() -> None:
    """Log what nobody caught, in the process or in a thread, in place of Python's own traceback with its messages."""

    def crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        structlog.get_logger().critical("process.crashed", exc_info=(kind, error, trace))

    def thread_crashed(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            name = args.thread.name if args.thread else "?"
            structlog.get_logger().critical("thread.crashed", thread=name, exc_info=args.exc_value)

    sys.excepthook = crashed
    threading.excepthook = thread_crashed


def _describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """`exc_info` (True, an exception or a triple) becomes `error`, which holds no foreign word."""
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = info[1] if isinstance(info, tuple) else info
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["error"] = describe(error)
    return event


def _mask_unlisted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A field that the event's entry in `EVENTS` does not list loses its value: a slip shows, and leaks nothing. One
    that has no value (None) is not there."""
    name = event["event"]
    listed = EVENTS.get(name, ())
    shown = {key: event[key] for key in _ALWAYS if event.get(key) is not None}
    shown["event"] = name if name in EVENTS or _EVENT_NAME.fullmatch(str(name)) else MASK
    for key, value in event.items():
        if value is not None and key not in _ALWAYS:
            shown[key] = value if key in listed else MASK
    return shown


def _scrub_with(scrubber: Scrubber) -> Processor:
    def scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: scrubber.value(value) for name, value in event.items()}

    return scrub


def _take_over_libraries(level: int, clock: Callable[[], float]) -> None:
    """One handler for all of them, whatever handlers and levels they gave themselves."""
    logging.disable(level - 1)  # beats the level of any logger, also of one that is made later
    logging.setLogRecordFactory(_harmless_record)
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [_EventHandler(Repeats(clock))]
    root.setLevel(level)
    for name in list(root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    _silence_stripe()


def _silence_stripe() -> None:
    """stripe prints its requests to stderr, past `logging`, where STRIPE_LOG asks for it."""
    os.environ.pop("STRIPE_LOG", None)
    imported = sys.modules.get("stripe._util")
    if imported is not None:
        vars(imported)["STRIPE_LOG"] = None


class _EventHandler(logging.Handler):
    """Turns a library's record into our event."""

    def __init__(self, repeats: Repeats) -> None:
        super().__init__()
        self._repeats = repeats

    def emit(self, record: logging.LogRecord) -> None:
        where = record.__dict__.get("where", "?")
        left_out = self._repeats.since_last((record.name, where, record.msg))
        if left_out is None:
            return
        fields: dict[str, Any] = {"logger": record.name, "where": where}
        if left_out:
            fields["left_out"] = left_out
        if record.msg:
            fields["template"] = record.msg
        if "error" in record.__dict__:
            fields["error"] = record.__dict__["error"]
        structlog.get_logger().log(record.levelno, "library.logged", **fields)


def _harmless_record(  # the signature is logging's
    name: str,
    level: int,
    pathname: str,
    lineno: int,
    msg: object,
    _args: object,
    exc_info: Any,
    func: str | None = None,
    _sinfo: str | None = None,
    **_extra: Any,
) -> logging.LogRecord:
    """A record without its arguments and its exception's words, and without its text unless that is a constant."""
    frame = _frame_at(pathname, lineno)
    template = msg if isinstance(msg, str) and frame and _is_library_constant(msg, frame) else ""
    record = logging.LogRecord(name, level, pathname, lineno, template, None, None, func, None)
    module = frame.f_globals.get("__name__", "?") if frame else Path(pathname).stem
    record.__dict__["where"] = f"{module}:{func}:{lineno}"
    error = exc_info[1] if isinstance(exc_info, tuple) else None
    if isinstance(error, BaseException):
        record.__dict__["error"] = describe(error)
    return record


def _frame_at(pathname: str, lineno: int) -> FrameType | None:
    """The frame on the stack that is logging right now."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - logging finds its caller in the same way
    while frame is not None and (frame.f_code.co_filename != pathname or frame.f_lineno != lineno):
        frame = frame.f_back
    return frame


def _is_library_constant(text: str, frame: FrameType) -> bool:
    libraries = (Path(os.__file__).parent, Path(structlog.__file__).parent.parent)
    file = Path(frame.f_code.co_filename)
    return text in frame.f_code.co_consts and any(file.is_relative_to(folder) for folder in libraries)
