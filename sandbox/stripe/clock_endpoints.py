"""/v1/test_helpers/test_clocks: customers on a clock of their own, that stands still until it is advanced.

Source: https://docs.stripe.com/billing/testing/test-clocks/api-advanced-usage, https://docs.stripe.com/api/test_clocks.
"""

from __future__ import annotations

from sandbox.stripe import objects, payment_objects
from sandbox.stripe.agenda import DAY
from sandbox.stripe.call import Context
from sandbox.stripe.customers import delete_now
from sandbox.stripe.errors import refused, underway
from sandbox.stripe.kinds import CLOCK
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lifecycle import next_period
from sandbox.stripe.lists import EXPAND, PAGE, alive, answer_list
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, text, timestamp

KEPT_SECONDS = 7 * DAY  # from `created` to `deletes_after` in the API reference's example
_IDLE_LIMIT = 730 * DAY  # the longest advance of a clock without subscriptions
_PATH = "/v1/test_helpers/test_clocks"
CREATE = Spec({"expand": EXPAND, "frozen_time": timestamp, "name": text(300)}, required=("frozen_time",))
ADVANCE = Spec({"expand": EXPAND, "frozen_time": timestamp}, required=("frozen_time",))
LIST = Spec(PAGE)


def create(ctx: Context) -> Obj:
    times = {"deletes_after": ctx.tx.wall + KEPT_SECONDS, **ctx.fields("frozen_time", "name")}
    clock = ctx.tx.put(payment_objects.test_clock(ctx.tx.ids.long("clock"), ctx.tx.wall, times))
    ctx.tx.emit(f"{CLOCK}.created", clock)
    return clock


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, CLOCK, ctx.identifier)


def list_all(ctx: Context) -> Obj:
    return answer_list(ctx, CLOCK, url=_PATH)


def advance(ctx: Context) -> Obj:
    """Begins to advance; what happens meanwhile happens after the answer (`clockwork.py`)."""
    clock = alive(ctx, CLOCK, ctx.identifier)
    if clock["status"] != "ready":
        raise underway(clock["id"])
    target = ctx.params["frozen_time"]
    if target <= clock["frozen_time"]:
        raise refused("The frozen_time must be after the test clock's current frozen time.", param="frozen_time")
    if target > _limit(ctx, clock):
        message = (
            "The frozen_time cannot be more than two intervals in the future from the shortest subscription in this"
            " test clock, or more than two years without subscriptions."
        )
        raise refused(message, param="frozen_time")
    details = {"advancing": {"target_frozen_time": target}}
    after = ctx.tx.put({**clock, "frozen_time": target, "status": "advancing", "status_details": details})
    ctx.tx.emit(f"{CLOCK}.advancing", after)
    return after


def _limit(ctx: Context, clock: Obj) -> int:
    now = clock["frozen_time"]
    subs = ctx.ledger.tables["subscription"].by("test_clock", clock["id"])
    prices = [sub["items"]["data"][0]["price"] for sub in subs if sub["ended_at"] is None]
    return min((next_period(next_period(now, price), price) for price in prices), default=now + _IDLE_LIMIT)


def delete(ctx: Context) -> Obj:
    return remove(ctx.tx, alive(ctx, CLOCK, ctx.identifier))


def remove(tx: Transaction, clock: Obj) -> Obj:
    """The clock and its customers, with their subscriptions, are gone."""
    tx.enter(clock["id"])
    for customer in tx.ledger.tables["customer"].by("test_clock", clock["id"]):
        delete_now(tx, customer)
    tx.emit(f"{CLOCK}.deleted", clock)
    return tx.put(objects.deleted(clock))
