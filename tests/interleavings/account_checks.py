"""What is to be so at last of a user whose subscriptions were changed, paid for, removed, or erased."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any
from uuid import UUID

from tests.interleavings.world import ENDED, World
from worker.domain.account_changes import Step
from worker.domain.erasure import ErasureState
from worker.domain.stripe_facts import SubscriptionFact
from worker.domain.subscription import as_json
from worker.stripe_api.parsing import subscription_fact

CARDS = {Step.ATTACH, Step.COLLECT}
"""Steps by which a card comes to be attached, each in a change of its own."""

ASKED = {Step.PLAN, Step.CANCELING}


def wrongs(world: World, customer: str, ids: Mapping[tuple[str, str], Collection[UUID]]) -> Iterator[str]:
    """What isn't as it is to be. `customer`: whose subscriptions it is about; `ids`: of the changes that were heard of
    under each caller's key."""
    if left := world.waiting():
        yield f"still waiting: {left}"
    if world.refreshes():
        yield "something is still marked"
    if several := {key: each for key, each in ids.items() if len(each) > 1}:
        yield f"one key, several changes: {several}"
    made = [each for each in world.stripe.ledger.tables["subscription"].all() if each["customer"] == customer]
    for each in made:
        yield from (f"{each['id']}: {wrong}" for wrong in _wrongs_of(world, str(each["id"])))
    if not _is_erased(world):
        yield from _wrongs_of_what_was_asked(world, customer)
    elif alive := [*world.customers(), *(each for each in made if each["status"] not in ENDED)]:
        yield f"erased, and there is {[each['id'] for each in alive]}"


def _is_erased(world: World) -> bool:
    row = world.row()
    return row is not None and row.state == ErasureState.ERASED


def _wrongs_of(world: World, identifier: str) -> Iterator[str]:
    """Its row is as Stripe has it, and what was told of it is its history; or it was removed for good."""
    told = [each for each in world.told() if each.stripe_subscription_id == identifier]
    states = [each.after for each in told if each.after is not None]
    if [each.version for each in told] != [*range(1, len(states) + 1), *[len(states)] * (len(told) - len(states))]:
        yield f"versions {[each.version for each in told]} were told"
    if any(before.after != after.before for before, after in pairwise(told)):
        yield "what is told isn't one chain"
    past = [_columns(each) for each in _history(world, identifier)]
    kept, history = [{name: each[name] for name in past[0]} for each in states], iter(past)
    if not all(state in history for state, _ in groupby(kept)):  # each further on in it
        yield f"it went back: {kept}"
    found = subscription_fact(world.ask_stripe("GET", f"/v1/subscriptions/{identifier}"))
    row = world.subscription(identifier) if world.is_there(identifier) else None
    if identifier in world.buried():
        if row is not None or not found.is_terminal or len(told) - len(states) != 1:
            yield f"it was removed, and told of {len(told) - len(states)} times; Stripe has {found}, and we {row}"
    elif row is None:
        if not _is_erased(world):
            yield "there is no row"
    elif row.state != found.columns(str(found.price_lookup_key)) or row.version != len(states):
        yield f"the row says {row}, and Stripe {found}"


def _history(world: World, identifier: str) -> list[SubscriptionFact]:
    """The states that it went through, as its events have them, in the order in which those were made."""
    events = world.stripe.ledger.tables["event"].rows.values()
    states = [each["data"]["object"] for each in events if each["type"].startswith("customer.subscription.")]
    return [subscription_fact(each) for each in states if each["id"] == identifier]


def _wrongs_of_what_was_asked(world: World, customer: str) -> Iterator[str]:
    """Each card was attached once; and whoever asked last for a plan, or for an end, has it."""
    wanted, cards = defaultdict[str, dict[str, object]](dict), 1
    for each in world.changes():
        held = set(each.steps[: each.done])
        cards += not held.isdisjoint(CARDS)
        wanted[str(each.stripe_subscription_id)] |= {name: each.wanted[name] for name in held & ASKED}
    path = f"/v1/customers/{customer}/payment_methods?limit=100"
    if (attached := len(world.ask_stripe("GET", path)["data"])) != cards:
        yield f"{attached} cards are attached, and {cards} were to be"
    for identifier, asked in wanted.items():
        state = world.subscription(identifier).state if world.is_there(identifier) else {"ended_at": None, **asked}
        if state["ended_at"] is None and asked.items() - state.items():
            yield f"asked for {asked}, and it is {state}"


def _columns(fact: SubscriptionFact) -> dict[str, Any]:
    """As the outbox has them."""
    columns: dict[str, Any] = json.loads(as_json(fact.columns(str(fact.price_lookup_key))))
    return columns
