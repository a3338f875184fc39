"""Failed calls in the log: each kind of failure at once, its repetitions counted."""

from __future__ import annotations

import logging
import time

import structlog

from worker.stripe_api.errors import Failure
from worker.telemetry.repeats import Repeats


class FailureLog:
    """Logs `stripe_call.failed`; safe from any thread. An outage, or a flood of 429s, would write hundreds of lines a
    second: the same failure again is told at debug, and counted in the next warning of its kind, a minute later."""

    def __init__(self) -> None:
        self._repeats = Repeats(time.monotonic)

    def failed(self, failure: Failure, outcome: str) -> None:
        """A call failed with `outcome`."""
        kind = (outcome, failure.operation, failure.status, failure.code, failure.param, failure.reason, failure.why)
        left_out = self._repeats.since_last(kind)
        structlog.get_logger().log(
            logging.DEBUG if left_out is None else logging.WARNING,
            "stripe_call.failed",
            operation=failure.operation,
            outcome=outcome,
            status=failure.status,
            type=failure.type,
            code=failure.code,
            param=failure.param,
            request_id=failure.request_id,
            reason=failure.reason,
            peer=failure.peer,
            why=failure.why,
            repeated=left_out or None,
        )
