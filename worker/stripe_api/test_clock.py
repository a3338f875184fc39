"""A test clock: the time that Stripe's test mode shows to the objects on it
(https://docs.stripe.com/billing/testing/test-clocks)."""

from __future__ import annotations

from datetime import UTC, datetime

from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.stripe_api.parsing import Fields
from worker.stripe_api.requestor import Call, Requestor


def frozen_time(requestor: Requestor, test_clock: str, *, lane: Lane, deadline: Deadline) -> datetime:
    """The time (UTC) at which the clock stands, or to which it is advancing."""
    path = f"/v1/test_helpers/test_clocks/{test_clock}"
    reply = requestor.send(Call("test_clocks.retrieve", "get", path, {}, lane, deadline))
    seconds: int = Fields("test clock", reply.data).get("frozen_time", int)
    return datetime.fromtimestamp(seconds, UTC)
