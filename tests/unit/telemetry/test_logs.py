"""Nothing personal and no secret is logged, whatever level is set and whatever the libraries log."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
import urllib3.util.retry

from worker.errors import Unavailable
from worker.settings.sections import LogSettings
from worker.telemetry import configure_logging, install_crash_hooks
from worker.telemetry.scrub import MASK

Lines = Callable[[], list[dict[str, Any]]]

PLANTED = "Ada Lovelace ada.lovelace@example.com sk_live_PLANTED whsec_PLANTED postgresql://u:PLANTED@h/db"
TRACES = ("Ada", "ada.", "Lovelace", "lovelace", "example.com", "PLANTED", "registered-secret")
LIBRARIES = (
    *("nsq", "stripe", "urllib3", "urllib3.connectionpool", "sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool"),
    *("alembic", "alembic.runtime.migration", "uvicorn", "uvicorn.error", "psycopg", "psycopg.pool", "tenacity"),
    *("asyncio", "aiohttp", "concurrent.futures", "py.warnings", "a.library.nobody.knows", "root"),
)


def _fail_with(message: str) -> None:
    email = message  # noqa: F841 - a local that a traceback with locals would show
    raise ValueError(message)


def _clean(text: str) -> bool:
    return not any(trace in text for trace in TRACES)


# Ours


def test_an_event_is_one_json_object_with_utc_time_and_level(lines: Lines) -> None:
    structlog.get_logger().info("health.listening", host="127.0.0.1", port=80)
    (line,) = lines()
    assert list(line) == ["timestamp", "level", "event", "host", "port"]
    assert (line["level"], line["event"], line["port"]) == ("info", "health.listening", 80)
    assert datetime.fromisoformat(line["timestamp"]).tzinfo == UTC


def test_a_level_is_obeyed() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(level="warning"), stream)
    structlog.get_logger().info("health.listening")
    assert stream.getvalue() == ""


def test_the_console_format_is_for_people() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(format="console"), stream)
    structlog.get_logger().error("health.failed", reason=PLANTED, exc_info=ValueError(PLANTED))
    assert "health.failed" in stream.getvalue()
    assert "PLANTED" not in stream.getvalue()


def test_a_field_that_is_not_listed_is_masked(lines: Lines) -> None:
    structlog.get_logger().info("health.failed", reason="disk", name="Ada Lovelace", body={"x": "Ada"})
    (line,) = lines()
    assert (line["reason"], line["name"], line["body"]) == ("disk", MASK, MASK)


def test_an_event_that_is_no_name_is_masked(lines: Lines) -> None:
    structlog.get_logger().info("hello Ada Lovelace")
    assert lines()[0]["event"] == MASK


def test_listed_fields_are_scrubbed_too(stream: io.StringIO, lines: Lines) -> None:
    detail = {"a": ["x ada.lovelace@example.com"], "b": "registered-secret", "c": object()}
    structlog.get_logger().info("health.changed", part="sk_live_PLANTED", detail=detail)
    assert _clean(stream.getvalue())
    assert lines()[0]["detail"] == {"a": [f"x {MASK}"], "b": MASK, "c": "<object>"}


def test_an_exception_is_types_places_and_our_own_words(stream: io.StringIO, lines: Lines) -> None:
    try:
        try:
            _fail_with(PLANTED)
        except ValueError as error:
            raise Unavailable("postgres", "connection lost to ada.lovelace@example.com") from error
    except Unavailable:
        structlog.get_logger().exception("health.failed", reason="x")
    ours, theirs = lines()[0]["error"]
    assert _clean(stream.getvalue())
    assert ours["type"] == "worker.errors.Unavailable"
    assert ours["message"] == f"postgres is unavailable: connection lost to {MASK}"
    assert theirs["type"] == "ValueError"
    assert "message" not in theirs
    assert theirs["at"][-1].startswith(f"{__name__}:_fail_with:")


def test_what_nobody_catches_is_logged_in_the_same_way(stream: io.StringIO, lines: Lines) -> None:
    install_crash_hooks()
    thread = threading.Thread(target=_fail_with, args=(PLANTED,), name="settle-1")
    thread.start()
    thread.join()
    error = ValueError(PLANTED)
    sys.excepthook(ValueError, error, None)
    assert _clean(stream.getvalue())
    assert [(line["event"], line["error"][0]["type"]) for line in lines()] == [
        ("thread.crashed", "ValueError"),
        ("process.crashed", "ValueError"),
    ]
    assert lines()[0]["thread"] == "settle-1"


# The libraries'


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_no_library_gets_a_profile_or_a_secret_into_the_log(name: str, level: int, stream: io.StringIO) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.log(level, PLANTED)
    logger.log(level, "%s", PLANTED)
    logger.log(level, "%(a)s", {"a": PLANTED})
    logger.log(level, ValueError(PLANTED), stack_info=True, extra={"planted": PLANTED})
    try:
        _fail_with(PLANTED)
    except ValueError as error:
        logger.log(level, "failed: %s", error, exc_info=True)
    assert _clean(stream.getvalue())
    assert len(stream.getvalue().splitlines()) == (5 if level >= logging.WARNING else 0)


def test_a_librarys_warning_says_where_it_comes_from_and_its_constant_text(lines: Lines) -> None:
    pool = urllib3.HTTPConnectionPool("127.0.0.1", port=1, retries=urllib3.util.retry.Retry(1, backoff_factor=0))
    with pool, pytest.raises(urllib3.exceptions.MaxRetryError):
        pool.request("GET", "/ada.lovelace@example.com")
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("library.logged", "warning", "urllib3.connectionpool")
    assert line["where"].startswith("urllib3.connectionpool:urlopen:")
    assert line["template"] == "Retrying (%r) after connection broken by '%r': %s"


def test_a_librarys_exception_is_named_by_type(lines: Lines) -> None:
    try:
        _fail_with(PLANTED)
    except ValueError:
        logging.getLogger("uvicorn.error").exception("x")
    assert lines()[0]["error"][0]["type"] == "ValueError"


def test_a_handler_that_a_library_adds_later_gets_nothing_either(stream: io.StringIO) -> None:
    its_own = io.StringIO()
    logger = logging.getLogger("added.later")
    handler = logging.StreamHandler(its_own)
    handler.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.debug(PLANTED)
    logger.warning("%s", PLANTED)
    assert _clean(its_own.getvalue() + stream.getvalue())


def test_pythons_warnings_go_the_same_way(stream: io.StringIO, lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(PLANTED, UserWarning, stacklevel=1)
    assert [line["logger"] for line in lines()] == ["py.warnings"]
    assert _clean(stream.getvalue())


def test_a_library_s_flood_is_one_line_a_minute_with_a_count_of_the_rest() -> None:
    now, stream = [0.0], io.StringIO()
    configure_logging(LogSettings(), stream, clock=lambda: now[0])
    logger = logging.getLogger("uvicorn.error")

    def flood() -> list[dict[str, Any]]:
        before = len(stream.getvalue())
        for _ in range(10_000):
            logger.warning("server accept() threw an exception")
        return [json.loads(line) for line in stream.getvalue()[before:].splitlines()]

    assert [line.get("left_out") for line in flood()] == [None]
    now[0] = 59.0
    assert flood() == []
    now[0] = 60.0
    assert [line.get("left_out") for line in flood()] == [19_999]
    logger.warning("server accept() threw an exception")  # another place
    assert len(stream.getvalue().splitlines()) == 3


REAL = """
import logging, sys
if {before}: import nsq, stripe, stripe._util, sqlalchemy, alembic, urllib3, uvicorn, psycopg
from worker.settings.sections import LogSettings
from worker.telemetry import configure_logging
configure_logging(LogSettings(level="debug"), sys.stdout)
import nsq, stripe, stripe._util, sqlalchemy, alembic, urllib3, uvicorn, psycopg
stripe._util.log_info("Request", params={planted!r})
stripe._util.log_debug("Request", params={planted!r})
engine = sqlalchemy.create_engine("sqlite://", echo="debug")
with engine.connect() as connection:
    connection.execute(sqlalchemy.text("select :planted"), {{"planted": {planted!r}}})
for name in [*logging.getLogger().manager.loggerDict]:
    for level in (10, 20, 30, 40):
        logging.getLogger(name).log(level, "%s", {planted!r})
"""


@pytest.mark.parametrize("before", [True, False], ids=["imported before", "imported after"])
def test_the_real_libraries_print_nothing_past_it(before: bool) -> None:
    code = REAL.format(before=before, planted=PLANTED)
    environ = {"STRIPE_LOG": "debug", "PATH": ""}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert _clean(run.stdout + run.stderr)
    assert '"logger": "stripe"' in run.stdout
    assert before is False or run.stderr == ""
