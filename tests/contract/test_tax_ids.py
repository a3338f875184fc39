"""What is on a customer's bills: how an address is replaced, and what Stripe does with tax ids."""

from __future__ import annotations

from tests.contract.account import Account
from tests.contract.life import Makes


def test_an_empty_text_clears_a_name_and_an_address_and_each_part_of_one(account: Account, makes: Makes) -> None:
    customer = makes.customer()["id"]
    path = f"/v1/customers/{customer}"
    account.post(path, {"name": "Ada", "address": {"city": "London", "line1": "12 St James's Square"}})
    found = account.post(path, {"name": "", "address": {"city": "", "line1": "1 Dean Street"}})
    assert (found["name"], found["address"]["city"], found["address"]["line1"]) == (None, None, "1 Dean Street")
    assert account.post(path, {"address": ""})["address"] is None


def test_a_tax_id_is_listed_at_once_and_gone_for_good_once_it_is_deleted(account: Account, makes: Makes) -> None:
    path = f"/v1/customers/{makes.customer()['id']}/tax_ids"
    made = account.post(path, {"type": "eu_vat", "value": "DE123456789"})
    assert [each["id"] for each in account.all(path)] == [made["id"]]
    assert account.delete(f"{path}/{made['id']}")["deleted"] is True
    assert list(account.all(path)) == []
    again = account.ask("delete", f"{path}/{made['id']}")
    assert (again.status, again.error["code"]) == (404, "resource_missing")


def test_a_tax_id_that_is_none_is_refused_by_its_value(account: Account, makes: Makes) -> None:
    path = f"/v1/customers/{makes.customer()['id']}/tax_ids"
    refused = account.ask("post", path, {"type": "eu_vat", "value": "nonsense"})
    assert (refused.status, refused.error["code"], refused.error["param"]) == (400, "tax_id_invalid", "value")
