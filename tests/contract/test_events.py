"""Events: the list that is polled, what an event tells, and in which shape."""

from __future__ import annotations

from tests.contract.account import Account
from tests.contract.life import DAY, Makes, subscribe
from worker.domain.event import TYPES
from worker.events.reading import pruned

OTHERS = ("price.created", "price.updated", "product.created")


def test_a_list_takes_twenty_types_and_ours_are_among_stripes(account: Account) -> None:
    assert account.ask("get", "/v1/events", {"types": list(TYPES)}).status == 200
    twenty = [*TYPES, *OTHERS][:20]
    assert account.ask("get", "/v1/events", {"types": twenty}).status == 200
    assert account.ask("get", "/v1/events", {"types": [*twenty, "product.deleted"]}).status == 400


def test_a_window_holds_both_its_edges_as_asked_newest_first(account: Account, makes: Makes) -> None:
    made = [account.event(each["id"], "customer.created") for each in makes.customers_of_two_seconds()]
    first, last = made[0]["created"], made[1]["created"]

    def listed(**window: int) -> list[dict[str, object]]:
        return list(account.all("/v1/events", {"types": ["customer.created"], "created": window}))

    both = listed(gte=first, lte=last)
    found = [event["id"] for event in both]
    assert {event["id"] for event in made} <= set(found)
    assert found.index(made[1]["id"]) < found.index(made[0]["id"])
    assert made[0]["id"] not in {event["id"] for event in listed(gt=first, lte=last)}
    assert made[1]["id"] not in {event["id"] for event in listed(gte=first, lt=last)}


def test_only_an_update_tells_old_values_and_those_of_what_changed_alone(account: Account, makes: Makes) -> None:
    customer = makes.customer(name="Ada", metadata={"kept": "1", "changed": "2"})
    path = f"/v1/customers/{customer['id']}"
    account.post(path, {"name": "Eve", "metadata": {"changed": "3", "new": "4"}})
    account.delete(path)
    told = account.events(customer["id"], "customer.created", "customer.updated", "customer.deleted")
    old = {event["type"]: event["data"].get("previous_attributes") for event in told}
    changed = {"name": "Ada", "metadata": {"changed": "2", "new": None}}
    assert old == {"customer.created": None, "customer.updated": changed, "customer.deleted": None}


def test_an_update_that_changes_nothing_makes_no_event(account: Account, makes: Makes) -> None:
    customer = makes.customer(name="Ada")
    for name in ("Ada", "Eve"):
        account.post(f"/v1/customers/{customer['id']}", {"name": name})
    assert account.event(customer["id"], "customer.updated")["data"]["previous_attributes"] == {"name": "Ada"}


def test_an_event_keeps_the_shape_that_it_was_made_in_whatever_version_asks(
    account: Account, makes: Makes, free: str
) -> None:
    """Hence an event says its version, and one of another version is refreshed."""
    made = subscribe(account, makes.customer(), free, trial_end=account.now() + 31 * DAY)
    event = account.event(made["id"], "customer.subscription.created")
    path = f"/v1/events/{event['id']}"
    asked = [account.get(path, version=version) for version in ("2024-06-20", "2025-03-31.basil")]
    seen = [(each["api_version"], each["data"]["object"]) for each in asked]
    assert seen == [(event["api_version"], event["data"]["object"])] * 2
    kept = pruned(event, "poll")
    assert (kept.object_id, kept.livemode, kept.api_version) == (made["id"], False, event["api_version"])


def test_what_an_endpoint_has_not_taken_is_listed_as_not_delivered(account: Account, makes: Makes) -> None:
    endpoint = makes.endpoint(enabled_events=["customer.created"])
    customer = makes.customer()
    event = account.event(customer["id"], "customer.created")
    window = {"types": ["customer.created"], "created": {"gte": event["created"]}}

    def listed(delivered: str) -> bool:
        found = account.all("/v1/events", {**window, "delivery_success": delivered})
        return event["id"] in {each["id"] for each in found}

    account.eventually("it is listed as not delivered", lambda: listed("false"))
    assert not listed("true")
    assert (event["pending_webhooks"] >= 1, endpoint["status"]) == (True, "enabled")
