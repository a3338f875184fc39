"""What the log says of an outage of Stripe: whom, why, and not four lines a second."""

from __future__ import annotations

import io
import json

from structlog.testing import capture_logs

from worker.settings.sections import LogSettings
from worker.stripe_api.errors import Failure
from worker.stripe_api.reporting import FailureLog
from worker.telemetry import configure_logging

REFUSED = Failure("account.retrieve", peer="https://api.stripe.com", why="Connection refused", code="stripe_connection")


def test_the_same_failure_again_and_again_is_one_warning() -> None:
    log = FailureLog()
    with capture_logs() as lines:
        for _ in range(100):
            log.failed(REFUSED, "unclear")
        log.failed(Failure("account.retrieve", status=401, type="invalid_request_error"), "unauthorized")
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [line["outcome"] for line in warnings] == ["unclear", "unauthorized"]
    assert len(lines) == 101, "at debug, each is there"


def test_what_there_is_nothing_of_is_not_in_the_line() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(), stream)
    FailureLog().failed(REFUSED, "unclear")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert None not in line.values()
    assert (line["peer"], line["why"]) == ("https://api.stripe.com", "Connection refused")
    assert "status" not in line
