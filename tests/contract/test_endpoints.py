"""A webhook endpoint: what `setup --webhook` may change of it, and what it is told once."""

from __future__ import annotations

from tests.contract.account import Account
from tests.contract.life import Makes
from worker.stripe_api.credentials import API_VERSION


def test_an_endpoints_secret_is_in_the_answer_to_its_creation_alone(account: Account, makes: Makes) -> None:
    made = makes.endpoint()
    path = f"/v1/webhook_endpoints/{made['id']}"
    assert made["secret"].startswith("whsec_")
    (listed,) = (each for each in account.all("/v1/webhook_endpoints") if each["id"] == made["id"])
    others = (account.get(path), account.post(path, {"description": "again"}), listed)
    assert ["secret" in each for each in others] == [False] * 3


def test_an_endpoints_types_and_address_change_in_place_and_its_version_does_not(
    account: Account, makes: Makes
) -> None:
    made = makes.endpoint(api_version=API_VERSION)
    path = f"/v1/webhook_endpoints/{made['id']}"
    assert made["api_version"] == API_VERSION
    changes = {"enabled_events": ["customer.deleted"], "url": f"{made['url']}?again", "metadata": {"owner": "x"}}
    changed = account.post(path, changes)
    assert (changed["id"], changed["enabled_events"], changed["url"]) == (
        made["id"],
        changes["enabled_events"],
        changes["url"],
    )
    assert changed["metadata"]["owner"] == "x"
    refused = account.ask("post", path, {"api_version": "2025-03-31.basil"})
    assert (refused.status, refused.error["code"]) == (400, "parameter_unknown")
    assert account.get(path)["api_version"] == API_VERSION
