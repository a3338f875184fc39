"""What is on a customer's bills, as it is asked for: name, address, tax ids. Stripe alone keeps it; here it is sealed
until it is Stripe's, and `repr` doesn't tell it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from worker.domain.accounts import UNSET, ApiError, Maybe
from worker.domain.text import is_storable

MAX_NAME, MAX_TEXT = 256, 200
"""Characters: Stripe's limit of a name; more than a line of an address has."""

MOST_TAX_IDS = 5

PARTS = ("city", "country", "line1", "line2", "postal_code", "state")
"""Of an address, as Stripe has it (https://docs.stripe.com/api/customers/object#customer_object-address)."""

COUNTRY = re.compile(r"[A-Z]{2}")
TAX_ID_TYPE = re.compile(r"[a-z0-9_]{2,40}")
TAX_ID_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,98}[\x21-\x7e])?")


class TaxId(NamedTuple):
    """`type` is Stripe's (`eu_vat`). Stripe says whether the value is one."""

    type: str
    value: str

    def is_like(self, other: TaxId) -> bool:
        """Whether it is the same, however it is written."""
        return self.type == other.type and _plain(self.value) == _plain(other.value)


@dataclass(frozen=True, slots=True)
class CustomerDetails:
    """What is asked for; what is `UNSET` stays as it is, and None clears. An address is given as a whole."""

    name: Maybe[str | None] = field(default=UNSET, repr=False)
    address: Maybe[Mapping[str, str | None] | None] = field(default=UNSET, repr=False)
    tax_ids: Maybe[tuple[TaxId, ...]] = field(default=UNSET, repr=False)

    @property
    def is_empty(self) -> bool:
        return self.name is UNSET and self.address is UNSET and self.tax_ids is UNSET

    def as_json(self) -> str:
        """To be sealed, and told from another request's; `from_json` reads it."""
        found = {"name": self.name, "address": self.address, "tax_ids": self.tax_ids}
        return json.dumps({name: value for name, value in found.items() if value is not UNSET}, sort_keys=True)


NO_DETAILS = CustomerDetails()


def from_json(document: str) -> CustomerDetails:
    found = json.loads(document)
    if "tax_ids" in found:
        found["tax_ids"] = tuple(TaxId(*each) for each in found["tax_ids"])
    return CustomerDetails(**found)


def read_details(document: Mapping[str, object]) -> tuple[CustomerDetails, list[ApiError]]:
    """What a JSON object asks for, and everything that keeps it from being asked of Stripe."""
    values: dict[str, Any] = {}
    errors: list[ApiError] = []
    readers = {"name": _name, "address": _address, "tax_ids": _tax_ids}
    for name, value in document.items():
        if name not in readers:
            errors.append(_unknown(f"/{_escaped(name)}"))
            continue
        values[name], wrong = readers[name](value)
        errors += wrong
    return CustomerDetails(**values), errors


def name_request(name: str | None) -> Mapping[str, object]:
    """An empty text clears (https://docs.stripe.com/api/customers/update)."""
    return {"name": name or ""}


def address_request(address: Mapping[str, str | None] | None) -> Mapping[str, object]:
    """Every part, so that none of the old address stays beside the new one."""
    return {"address": "" if address is None else {part: address.get(part) or "" for part in PARTS}}


def _name(value: object) -> tuple[str | None, list[ApiError]]:
    if value is None:
        return None, []
    if not _is_text(value, MAX_NAME):
        return None, [ApiError("/name", "wrong_type", f"is not a text of 1 to {MAX_NAME} characters, or null")]
    return str(value), []


def _address(value: object) -> tuple[Mapping[str, str | None] | None, list[ApiError]]:
    if value is None:
        return None, []
    if not isinstance(value, dict):
        return None, [ApiError("/address", "wrong_type", f"is not an object with any of {', '.join(PARTS)}, or null")]
    errors = []
    for part, told in value.items():
        place = f"/address/{_escaped(part)}"
        if part not in PARTS:
            errors.append(_unknown(place))
        elif told is not None and not _is_text(told, MAX_TEXT):
            errors.append(ApiError(place, "wrong_type", f"is not a text of 1 to {MAX_TEXT} characters, or null"))
        elif part == "country" and told is not None and not COUNTRY.fullmatch(told):
            errors.append(ApiError(place, "not_a_country", "is not a country's two letters (ISO 3166-1)"))
    return value, errors


def _tax_ids(value: object) -> tuple[tuple[TaxId, ...], list[ApiError]]:
    if not isinstance(value, list) or len(value) > MOST_TAX_IDS:
        return (), [ApiError("/tax_ids", "wrong_type", f"is not a list of {MOST_TAX_IDS} at most")]
    found: list[TaxId] = []
    errors = []
    for number, each in enumerate(value):
        place = f"/tax_ids/{number}"
        if not isinstance(each, dict):
            errors.append(ApiError(place, "wrong_type", "is not an object with type and value"))
            continue
        errors += [_unknown(f"{place}/{_escaped(name)}") for name in each if name not in TaxId._fields]
        kind, text = each.get("type"), each.get("value")
        if not isinstance(kind, str) or not TAX_ID_TYPE.fullmatch(kind):
            errors.append(ApiError(f"{place}/type", "wrong_type", "is not the name of a type, such as eu_vat"))
        elif not isinstance(text, str) or not TAX_ID_VALUE.fullmatch(text):
            errors.append(ApiError(f"{place}/value", "wrong_type", "is not a text of 1 to 100 characters of ASCII"))
        elif any(TaxId(kind, text).is_like(other) for other in found):
            errors.append(ApiError(place, "repeated", "may be given once"))
        else:
            found.append(TaxId(kind, text))
    return tuple(found), errors


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and is_storable(value)


def _plain(value: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", value.upper())


def _unknown(place: str) -> ApiError:
    return ApiError(place, "unknown", "there is no such one")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
