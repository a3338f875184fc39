"""What is to be on a customer's bills: what can be asked for, and how Stripe is asked."""

from __future__ import annotations

import pytest

from worker.domain.account_changes import Kind, Step, planned
from worker.domain.accounts import UNSET, SubscriptionChange
from worker.domain.customer_details import (
    CustomerDetails,
    TaxId,
    address_request,
    from_json,
    name_request,
    read_details,
)

VAT = {"type": "eu_vat", "value": "DE123456789"}
ALL = CustomerDetails("Ada", {"city": "London"}, (TaxId("eu_vat", "DE123456789"),))


@pytest.mark.parametrize(
    ("document", "errors"),
    [
        ({}, []),
        ({"name": "Ada", "address": {"city": "London", "line2": None, "country": "GB"}, "tax_ids": [VAT]}, []),
        ({"name": None, "address": None, "tax_ids": []}, []),
        ({"address": {}}, []),
        ({"na/me~": 1}, ["/na~1me~0 unknown"]),
        ({"name": 1}, ["/name wrong_type"]),
        ({"name": "a\x00"}, ["/name wrong_type"]),
        ({"address": "London"}, ["/address wrong_type"]),
        ({"address": {"a/b": "x"}}, ["/address/a~1b unknown"]),
        ({"address": {"country": None, "city": "x" * 201}}, ["/address/city wrong_type"]),
        ({"address": {"country": "gb"}}, ["/address/country not_a_country"]),
        ({"tax_ids": None}, ["/tax_ids wrong_type"]),
        ({"tax_ids": [VAT] * 6}, ["/tax_ids wrong_type"]),
        ({"tax_ids": ["DE123456789"]}, ["/tax_ids/0 wrong_type"]),
        ({"tax_ids": [{**VAT, "type": "EU VAT"}]}, ["/tax_ids/0/type wrong_type"]),
        ({"tax_ids": [{**VAT, "value": "é"}]}, ["/tax_ids/0/value wrong_type"]),
        ({"tax_ids": [{**VAT, "value": " "}]}, ["/tax_ids/0/value wrong_type"]),
        ({"tax_ids": [VAT, {**VAT, "value": "de-123456789"}]}, ["/tax_ids/1 repeated"]),
        ({"tax_ids": [VAT, {**VAT, "type": "gb_vat"}]}, []),
    ],
)
def test_what_can_be_asked_for(document: dict[str, object], errors: list[str]) -> None:
    assert [f"{each.pointer} {each.code}" for each in read_details(document)[1]] == errors


def test_what_was_read_is_told_apart_from_what_was_left_out() -> None:
    found, _ = read_details({"name": None, "tax_ids": [VAT]})
    assert (found.name, found.address, found.tax_ids) == (None, UNSET, (TaxId("eu_vat", "DE123456789"),))
    assert (found.is_empty, CustomerDetails().is_empty) == (False, True)


@pytest.mark.parametrize("details", [ALL, CustomerDetails(), CustomerDetails(None, None, ())])
def test_what_is_sealed_is_what_is_opened(details: CustomerDetails) -> None:
    assert from_json(details.as_json()) == details


def test_nothing_personal_is_told_by_its_words() -> None:
    assert [word for word in ("Ada", "London", "DE1") if word in repr(ALL)] == []


def test_an_address_is_replaced_as_a_whole() -> None:
    assert address_request({"city": "London", "line1": None}) == {
        "address": {"city": "London", "country": "", "line1": "", "line2": "", "postal_code": "", "state": ""}
    }
    assert (address_request(None), name_request(None), name_request("Ada")) == (
        {"address": ""}, {"name": ""}, {"name": "Ada"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("details", "steps"),
    [
        (ALL, [Step.NAME, Step.ADDRESS, Step.TAX_ID, Step.OTHER_TAX_IDS]),
        (CustomerDetails(tax_ids=()), [Step.OTHER_TAX_IDS]),
        (CustomerDetails(name=None), [Step.NAME]),
    ],
)
def test_new_tax_ids_come_before_old_ones_go(details: CustomerDetails, steps: list[Step]) -> None:
    assert list(planned(Kind.DETAILS, SubscriptionChange(), details)) == steps
