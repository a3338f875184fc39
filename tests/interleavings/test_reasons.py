"""What a row says of itself, in its own words, at each turn that it takes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row

from sandbox.stripe.call import Call
from sandbox.stripe.faults import Fault
from tests.interleavings.process import LEASE, NAMESPACE, PRICES, TRIAL, Process
from tests.interleavings.puppet import Order
from tests.interleavings.wire import Flight
from tests.interleavings.world import USER, World, finish, flight_of, go_to_write
from worker.domain.provisioning import RENEWAL_MARGIN, SHORTEST_TRIAL_TO_SEND, State, Step, step_key
from worker.provisioning.customer_step import MOST_GENERATIONS

A_LEASE = LEASE + timedelta(seconds=1)
CUSTOMERS, SUBSCRIPTIONS = "/v1/customers", "/v1/subscriptions"


def row_of(world: World) -> Row[Any]:
    row = world.row()
    assert row is not None
    return row


def begin(world: World, email: str | None = "ada@example.com") -> Process:
    """A worker that is about to settle the user."""
    process, _ = world.processes
    process.deliver("profile_created", world.message(USER, email, world.now()))
    finish(process)
    process.work()
    return process


def work_again(world: World, process: Process) -> None:
    """Once its lease is over, it begins to settle what is due."""
    world.pass_time(A_LEASE)
    process.work()


def burn_key(world: World, process: Process, path: str) -> None:
    """Stripe keeps the error with which it answers the write to `path`; the worker is about to ask again."""
    answer_with(process, path, Fault("status", "before", status=500, sticky=True))
    finish(process)
    work_again(world, process)


def answer_with(process: Process, path: str, fault: Fault) -> None:
    """What it writes to `path` next meets the fault."""
    go_to_write(process, path)
    flight_of(process).fault = fault


def lose_answer(process: Process, path: str) -> Flight:
    """It sends its write to `path`, and hears nothing of it; what became of that is yet to be said."""
    go_to_write(process, path)
    flight = flight_of(process)
    process.puppet.go(Order.FAIL)
    return flight


def go_to_generation(world: World, process: Process, generation: int) -> Row[Any]:
    """Until it has committed that generation."""
    while row_of(world).generation < generation:
        process.puppet.go()
    return row_of(world)


def refused(param: str) -> Fault:
    return Fault("status", "before", status=400, code="parameter_invalid", param=param)


def test_a_field_that_stripe_refuses_is_left_out_and_named(world: World) -> None:
    process = begin(world)
    answer_with(process, CUSTOMERS, refused("email"))
    assert go_to_generation(world, process, 2).last_error == "email_refused"
    finish(process)
    assert row_of(world).state == State.COMPLETED
    assert world.customers()[0]["email"] is None
    assert row_of(world).generation == 2


def test_a_trial_that_stripe_says_has_passed_begins_anew(world: World) -> None:
    process = begin(world)
    answer_with(process, SUBSCRIPTIONS, refused("trial_end"))
    world.pass_time(timedelta(seconds=30))
    row = go_to_generation(world, process, 2)
    assert row.last_error == "trial_passed"
    assert row.trial_end == (world.now() + TRIAL).replace(microsecond=0)
    finish(process)
    assert row_of(world).state == State.COMPLETED


def test_a_spent_trial_whose_request_may_be_under_way_waits_as_long_as_that_may_take_effect(world: World) -> None:
    process = begin(world)
    for _ in range(2):  # each is lost, and the worker hears nothing
        world.wire.vanish(lose_answer(process, SUBSCRIPTIONS))
        finish(process)
        work_again(world, process)
    process.stop()
    world.pass_time(row_of(world).trial_end - world.now() - SHORTEST_TRIAL_TO_SEND + timedelta(seconds=1))
    _, other = world.processes
    other.work()
    finish(other)
    row = row_of(world)
    assert row.last_error == "trial_nearly_spent"
    assert row.due_at == row.trial_end - SHORTEST_TRIAL_TO_SEND + RENEWAL_MARGIN


@pytest.mark.parametrize("shown", [True, False])
def test_a_customer_that_stripe_denies_is_asked_for_before_the_user_is_set_aside(world: World, shown: bool) -> None:
    process = begin(world)
    answer_with(process, SUBSCRIPTIONS, Fault("status", "before", status=400, code="resource_missing"))
    process.puppet.go()
    assert flight_of(process).call.method == "GET"
    if not shown:
        flight_of(process).fault = Fault("status", "before", status=404, code="resource_missing")
    finish(process)
    row = row_of(world)
    if shown:
        assert (row.state, row.last_error) == (State.CUSTOMER_CREATED, "customer_gone_and_there")
    else:
        assert row.state == State.QUARANTINED
        assert "customer_gone" in row.last_error


def test_a_key_whose_answer_stripe_keeps_is_named_burnt(world: World) -> None:
    process = begin(world)
    burn_key(world, process, SUBSCRIPTIONS)
    assert go_to_generation(world, process, 2).last_error == "key_burnt"


def next_asked(process: Process) -> Call:
    """What it asks Stripe next, prices apart; not sent yet."""
    while (gate := process.puppet.at) is not None:
        if gate.flight is not None and gate.flight.call.path != PRICES:
            return gate.flight.call
        process.puppet.go()
    raise AssertionError("it asks nothing")


def test_a_request_whose_answer_was_lost_is_sent_again_under_its_key(world: World) -> None:
    process = begin(world)
    lost = lose_answer(process, CUSTOMERS)
    world.wire.vanish(lost)
    finish(process)
    work_again(world, process)
    asked = next_asked(process)
    assert (asked.method, asked.path, asked.key) == ("POST", CUSTOMERS, lost.call.key)


def test_a_look_for_what_a_burnt_key_made_is_gone_on_with_before_anything_is_asked_for(world: World) -> None:
    process = begin(world)
    burn_key(world, process, CUSTOMERS)
    assert next_asked(process).method == "POST"
    process.puppet.go()
    assert next_asked(process).method == "GET", "Stripe answered from memory"
    while process.puppet.at is not None:
        if process.puppet.at.flight is not None:
            process.puppet.at.flight.fault = Fault("status", "before", status=503)
        process.puppet.go()
    assert (row_of(world).state, row_of(world).generation) == (State.PENDING, 1)
    work_again(world, process)
    assert next_asked(process).method == "GET"
    finish(process)
    assert (row_of(world).state, row_of(world).generation) == (State.COMPLETED, 2)
    assert len(world.customers()) == 1


def test_a_profile_that_its_key_does_not_open_is_set_aside(world: World) -> None:
    process, _ = world.processes
    process.deliver("profile_created", world.message(USER, "ada@example.com", world.now()))
    finish(process)
    world.tamper()
    world.kill(process)
    world.pass_time(A_LEASE)
    process, _ = world.processes
    process.work()
    finish(process)
    row = row_of(world)
    assert row.state == State.QUARANTINED
    assert row.last_error.startswith("profile_sealed: ")
    assert row.last_error.endswith("; publish the profile again")


def test_a_profile_whose_key_went_away_after_it_was_leased_waits_for_it(world: World) -> None:
    process, _ = world.processes
    process.deliver("profile_created", world.message(USER, "ada@example.com", world.now()))
    finish(process)
    world.pass_time(A_LEASE)
    process.lease_due()
    finish(process)
    process.lose_key()
    process.settle_leased()
    finish(process)
    assert (row_of(world).state, row_of(world).last_error) == (State.PENDING, "sealed_under_another_key")
    work_again(world, process)
    finish(process)
    assert row_of(world).state == State.COMPLETED


def test_a_refused_request_is_not_sent_again_where_nobody_knows_a_better_one(world: World) -> None:
    process = begin(world)
    answer_with(process, SUBSCRIPTIONS, Fault("status", "before", status=402))
    world.pass_time(timedelta(seconds=1))
    process.puppet.go()
    while process.puppet.at is not None:
        flight = process.puppet.at.flight
        if flight is not None:
            assert flight.call.path == PRICES
            flight.fault = Fault("status", "before", status=503)
        process.puppet.go()
    assert (row_of(world).state, row_of(world).generation) == (State.CUSTOMER_CREATED, 1)
    assert not world.subscriptions()


def test_a_refused_request_whose_price_has_moved_is_built_anew(world: World) -> None:
    process = begin(world)
    answer_with(process, SUBSCRIPTIONS, Fault("status", "before", status=402))
    before = row_of(world).subscription_request
    world.replace_price(archive=False)
    world.pass_time(timedelta(seconds=1))
    row = go_to_generation(world, process, 2)
    assert (row.last_error, row.look_first) == ("terms_changed", True)
    assert row.subscription_request != before
    while (gate := process.puppet.at) is not None and gate.flight is None:
        process.puppet.go()
    assert (flight_of(process).call.method, flight_of(process).call.path) == ("GET", SUBSCRIPTIONS)
    finish(process)
    assert row_of(world).state == State.COMPLETED
    assert len(world.subscriptions()) == 1


def test_a_trial_that_stripe_refuses_again_and_again_is_a_refusal(world: World) -> None:
    process = begin(world)
    asked = 0
    while process.puppet.at is not None:
        flight = process.puppet.at.flight
        if flight is not None and flight.is_write and flight.call.path == SUBSCRIPTIONS:
            flight.fault = refused("trial_end")
            asked += 1
        process.puppet.go()
    assert asked == MOST_GENERATIONS
    assert "trial_end" in row_of(world).last_error


def test_a_change_says_what_caused_it_and_each_key_is_of_the_namespace(world: World) -> None:
    completed = world.settled("live", "completed")
    process = begin(world)
    for path, step in ((CUSTOMERS, Step.CUSTOMER), (SUBSCRIPTIONS, Step.SUBSCRIPTION)):
        go_to_write(process, path)
        assert flight_of(process).call.key == step_key(NAMESPACE, USER, step, 1)
        process.puppet.go()
    finish(process)
    assert world.causes() == ["provisioned"]
    assert world.settled("live", "completed") == completed + 1
    before = world.settled("backfill", "adopted")
    world.lose_database()
    process.deliver("profile_backfill", world.message(USER, "ada@example.com", world.now()))
    finish(process)
    world.pass_time(timedelta(hours=1))
    process.work()
    finish(process)
    assert world.causes() == ["adopted"]
    assert world.settled("backfill", "adopted") == before + 1
    assert world.refreshes() == 0, "it was read just now"


def test_a_subscription_of_ours_that_was_never_paid_for_makes_room_for_another(world: World) -> None:
    """Under the same key Stripe would answer with that one for a day."""
    process = begin(world)
    world.wire.land(lose_answer(process, SUBSCRIPTIONS))
    finish(process)
    (first,) = world.all_subscriptions()
    first["status"] = "incomplete_expired"
    world.doubt()
    work_again(world, process)
    go_to_write(process, SUBSCRIPTIONS)
    assert (row_of(world).generation, row_of(world).last_error) == (2, "subscription_expired")
    finish(process)
    assert row_of(world).state == State.COMPLETED
    assert [each["status"] for each in world.all_subscriptions()] == ["incomplete_expired", "trialing"]


def test_a_customer_that_we_know_is_taken_and_looked_at_for_a_subscription_first(world: World) -> None:
    customer = world.know_customer(USER)
    process = begin(world)
    asked = []
    while process.puppet.at is not None:
        flight = process.puppet.at.flight
        if flight is not None:
            asked.append((flight.call.method, flight.call.path))
        process.puppet.go()
    assert [each for each in asked if each[1] != PRICES] == [("GET", SUBSCRIPTIONS), ("POST", SUBSCRIPTIONS)]
    assert (row_of(world).stripe_customer_id, row_of(world).generation) == (customer, 1)


def test_a_trial_that_is_longer_than_the_settling_worker_gives_is_shortened_and_told(world: World) -> None:
    long, short = world.processes
    long.deliver("profile_created", world.message(USER, None, world.now()))
    finish(long)
    before = row_of(world).trial_end
    world.pass_time(A_LEASE)
    short.work()
    finish(short)
    seconds = (before - row_of(world).trial_end).total_seconds()
    assert seconds > 0
    told = [entry for entry in world.logged if entry["event"] == "trial.shortened"]
    assert [(entry["user_id"], entry["seconds"]) for entry in told] == [(USER, seconds)]
