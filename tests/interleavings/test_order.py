"""What must be committed, or looked for, before the next thing is done: single steps of one worker and the next."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sandbox.stripe.faults import Fault
from tests.interleavings.process import LEASE, Process
from tests.interleavings.puppet import Order, Place
from tests.interleavings.world import USER, World, finish, flight_of, go_to_write
from worker.domain.provisioning import State, user_digest

A_LEASE = LEASE + timedelta(seconds=1)
CUSTOMERS, SUBSCRIPTIONS = "/v1/customers", "/v1/subscriptions"


def absorb(world: World, process: Process) -> None:
    process.deliver("profile_created", world.message(USER, None, world.now()))
    finish(process)


def is_completed(world: World) -> bool:
    row = world.row()
    return row is not None and row.state == State.COMPLETED


def lose_request(world: World, process: Process) -> None:
    """It never arrives, and the worker hears nothing."""
    flight = flight_of(process)
    process.puppet.go(Order.FAIL)
    world.wire.vanish(flight)
    finish(process)


def subscribe_elsewhere(world: World) -> None:
    """The user subscribes in Checkout, say."""
    customer, price = world.customers()[0]["id"], world.ask_stripe("GET", "/v1/prices")["data"][0]["id"]
    world.ask_stripe("POST", SUBSCRIPTIONS, f"customer={customer}&items[0][price]={price}&trial_period_days=7")


def subscriptions_of_all(world: World) -> int:
    return world.stripe.ledger.tables["subscription"].count()


def test_another_worker_with_other_settings_and_another_price_sends_the_request_as_it_was_frozen(world: World) -> None:
    """Else Stripe would take the second for another request under the same key."""
    first, second = world.processes
    absorb(world, first)
    first.work()
    go_to_write(first, SUBSCRIPTIONS)
    frozen = flight_of(first).call.params
    lose_request(world, first)
    world.replace_price(archive=False)
    second.refresh_prices()
    world.pass_time(A_LEASE)
    second.work()
    go_to_write(second, SUBSCRIPTIONS)
    assert flight_of(second).call.params == frozen
    finish(second)
    assert is_completed(world)


def test_a_customer_that_stripe_remembers_may_have_a_subscription_of_another_origin(world: World) -> None:
    """The ledger is lost after the customer was made; its key brings it back, and the user has subscribed since."""
    first, _ = world.processes
    absorb(world, first)
    first.work()
    go_to_write(first, SUBSCRIPTIONS)
    lose_request(world, first)
    subscribe_elsewhere(world)
    world.lose_database()
    absorb(world, first)
    world.pass_time(A_LEASE)
    first.work()
    finish(first)
    assert is_completed(world)
    assert subscriptions_of_all(world) == 1


@pytest.mark.parametrize("leased_by", ["absorbing", "sweeping"])
def test_a_lease_that_took_long_to_be_committed_is_as_old_as_the_database_says(world: World, leased_by: str) -> None:
    """The deadline begins before the lease is written: what is left of it is never overrated."""
    slow, _ = world.processes
    slow.work()  # settling is halted until something was tried
    finish(slow)
    if leased_by == "absorbing":
        slow.deliver("profile_created", world.message(USER, None, world.now()))
    else:
        absorb(world, world.processes[1])
        world.pass_time(A_LEASE)
        slow.work()
    for commit in range(1 if leased_by == "absorbing" else 2):  # a sweep looks first at what was refused
        if commit:
            slow.puppet.go()
        while slow.puppet.at is not None and slow.puppet.at.place is not Place.COMMIT:
            slow.puppet.go()
    world.pass_time(LEASE - timedelta(seconds=1))
    finish(slow)
    if leased_by == "absorbing":
        slow.work()
        finish(slow)
    assert not world.customers(), "sent with a second left"


@pytest.mark.parametrize("path", [CUSTOMERS, SUBSCRIPTIONS])
def test_a_worker_that_dies_after_it_began_a_new_generation_leaves_it_in_doubt(world: World, path: str) -> None:
    """A look was made before, but the next worker comes later: somebody else may have been there first."""
    first, second = world.processes
    absorb(world, first)
    first.work()
    go_to_write(first, path)
    flight_of(first).fault = Fault("status", "before", status=500, sticky=True)
    finish(first)
    world.pass_time(A_LEASE)
    first.work()  # Stripe answers from memory
    generation = 1
    while generation == 1:
        first.puppet.go()
        row = world.row()
        assert row is not None
        generation = row.generation
    world.kill(first)
    if path == CUSTOMERS:
        digest = user_digest("interleavings", USER)
        world.ask_stripe("POST", CUSTOMERS, f"metadata[subkeeper]={digest}")
    else:
        subscribe_elsewhere(world)
    world.pass_time(A_LEASE)
    for _ in range(3):
        second.work()
        finish(second)
        world.pass_time(A_LEASE)
    assert is_completed(world)
    assert len(world.customers()) == 1
    assert subscriptions_of_all(world) == 1


def test_a_long_look_keeps_its_lease_in_the_database_too(world: World) -> None:
    """Page by page it takes longer than a lease; no other worker is given the row meanwhile."""
    searching, other = world.processes
    email = "ada@example.com"
    for _ in range(250):
        world.ask_stripe("POST", CUSTOMERS, f"email={email}")
    searching.work()  # settling is halted until something was tried
    finish(searching)
    searching.deliver("profile_created", world.message(USER, email, None))  # of unknown age, and so looked for first
    finish(searching)
    searching.work()
    while searching in world.busy(Place.COMMIT, Place.COMMITTED):
        searching.puppet.go()
    row = world.row()
    assert row is not None
    token, began = row.lease_token, world.now()
    while world.now() - began < LEASE * 4 / 3:
        gate = searching.puppet.at
        assert gate is not None, "the look was over too soon"
        if gate.flight is not None:
            world.pass_time(LEASE * 2 / 3)
            other.work()
            finish(other)
        searching.puppet.go()
    row = world.row()
    assert row is not None
    assert row.lease_token == token, "another worker was given the row"
