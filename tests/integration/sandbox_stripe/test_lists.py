"""Lists, searches and what may be expanded in them."""

from __future__ import annotations

import pytest

from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw

CUSTOMERS = "/v1/customers"


def _ids(answer: object) -> list[str]:
    assert isinstance(answer, dict), answer
    return [row["id"] for row in answer["data"]]


def test_customers_are_found_by_email_exactly(raw: Raw) -> None:
    first, second = (raw.post(CUSTOMERS, email="a@example.com").body["id"] for _ in range(2))
    raw.post(CUSTOMERS, email="A@example.com")
    assert _ids(raw.get(CUSTOMERS, email="a@example.com").body) == [second, first]
    raw.post(f"{CUSTOMERS}/{first}", email="b@example.com")
    assert _ids(raw.get(CUSTOMERS, email="a@example.com").body) == [second]


def test_a_created_window_is_exact_at_its_edges(raw: Raw, control: Control) -> None:
    made = []
    for _ in range(3):
        made.append(raw.post(CUSTOMERS).body)
        control.jump(100)
    middle = made[1]["created"]
    ids = [customer["id"] for customer in made]
    assert _ids(raw.get(CUSTOMERS, **{"created[gte]": middle}).body) == [ids[2], ids[1]]
    assert _ids(raw.get(CUSTOMERS, **{"created[gt]": middle}).body) == [ids[2]]
    assert _ids(raw.get(CUSTOMERS, **{"created[lte]": middle}).body) == [ids[1], ids[0]]
    assert _ids(raw.get(CUSTOMERS, **{"created[lt]": middle}).body) == [ids[0]]
    assert _ids(raw.get(CUSTOMERS, created=middle).body) == [ids[1]]


def test_a_clock_that_went_back_does_not_hide_anything(raw: Raw, control: Control) -> None:
    later = raw.post(CUSTOMERS).body
    control.jump(-500)
    earlier = raw.post(CUSTOMERS).body
    assert _ids(raw.get(CUSTOMERS).body) == [later["id"], earlier["id"]]
    assert _ids(raw.get(CUSTOMERS, **{"created[lt]": later["created"]}).body) == [earlier["id"]]


def test_subscriptions_are_listed_by_price_and_status(raw: Raw, price: str) -> None:
    customer = raw.post(CUSTOMERS).body["id"]
    order = {"customer": customer, "items[0][price]": price}
    trial = raw("POST", "/v1/subscriptions", {**order, "trial_period_days": 3}).body["id"]
    active = raw("POST", "/v1/subscriptions", order).body["id"]
    assert _ids(raw.get("/v1/subscriptions", status="trialing").body) == [trial]
    assert _ids(raw.get("/v1/subscriptions", price=price, customer=customer).body) == [active, trial]
    assert _ids(raw.get("/v1/subscriptions", price="price_other").body) == []
    raw("DELETE", f"/v1/subscriptions/{active}")
    assert _ids(raw.get("/v1/subscriptions", status="ended").body) == [active]
    assert _ids(raw.get("/v1/subscriptions").body) == [trial]


def test_a_list_expands_what_its_rows_name(raw: Raw, price: str) -> None:
    customer = raw.post(CUSTOMERS, name="Ada").body["id"]
    raw("POST", "/v1/subscriptions", {"customer": customer, "items[0][price]": price})
    paths = {
        "expand[0]": "data.customer",
        "expand[1]": "data.latest_invoice",
        "expand[2]": "data.items.data.price.product",
    }
    row = raw("GET", "/v1/subscriptions", paths).body["data"][0]
    assert row["customer"]["name"] == "Ada"
    assert row["latest_invoice"]["object"] == "invoice"
    assert row["items"]["data"][0]["price"]["product"]["name"] == "Pending"
    subscriptions = raw.get(f"{CUSTOMERS}/{customer}", **{"expand[]": "subscriptions"}).body["subscriptions"]
    assert _ids(subscriptions) == [row["id"]]


def test_a_search_sees_the_past(raw: Raw, control: Control) -> None:
    control.search_lag(60)
    customer = raw("POST", CUSTOMERS, {"metadata[subkeeper]": "d1", "email": "a@example.com"}).body["id"]
    query = "metadata['subkeeper']:'d1' AND email:'a@example.com'"
    assert _ids(raw.get(f"{CUSTOMERS}/search", query=query).body) == []
    control.jump(61)
    assert _ids(raw.get(f"{CUSTOMERS}/search", query=query).body) == [customer]
    raw("DELETE", f"{CUSTOMERS}/{customer}")
    assert _ids(raw.get(f"{CUSTOMERS}/search", query=query).body) == [customer]
    control.jump(61)
    assert _ids(raw.get(f"{CUSTOMERS}/search", query=query).body) == []


@pytest.mark.parametrize(
    ("kind", "query", "found"),
    [
        ("prices", "active:'true' AND lookup_key:'pending' type:'recurring'", True),
        ("prices", "active:'false' OR currency:'eur'", False),
        ("products", "name~'pend'", True),
        ("products", "-active:'true' OR description:'x'", False),
        ("invoices", "total:0 AND status:'paid' AND currency:'usd'", True),
        ("invoices", "total>0 OR number:null", False),
    ],
)
def test_prices_products_and_invoices_are_searched(raw: Raw, price: str, kind: str, query: str, found: bool) -> None:
    terms = {"customer": raw.post(CUSTOMERS).body["id"], "items[0][price]": price, "trial_period_days": 3}
    subscription = raw("POST", "/v1/subscriptions", terms).body
    assert len(_ids(raw.get(f"/v1/{kind}/search", query=query).body)) == found
    mine = raw.get("/v1/invoices/search", query=f"subscription:'{subscription['id']}'").body
    assert _ids(mine) == [subscription["latest_invoice"]]


def test_a_search_is_paged(raw: Raw) -> None:
    ids = [raw.post(CUSTOMERS, name=f"Customer {n}").body["id"] for n in range(5)]
    first = raw.get(f"{CUSTOMERS}/search", query="name~'customer'", limit=3).body
    second = raw.get(f"{CUSTOMERS}/search", query="name~'customer'", limit=3, page=first["next_page"]).body
    assert sorted(_ids(first) + _ids(second)) == sorted(ids)
    assert (first["has_more"], second["has_more"], second["next_page"]) == (True, False, None)


@pytest.mark.parametrize("query", ["", "name", "colour:'red'", "metadata:'x'", "email:'a' AND name:'b' OR phone:'c'"])
def test_a_query_that_is_none_is_refused(raw: Raw, query: str) -> None:
    assert raw.get(f"{CUSTOMERS}/search", query=query).status == 400


def test_events_are_filtered_by_type_and_window(raw: Raw, control: Control, price: str) -> None:
    start = control.health()["now"]
    control.jump(1000)
    customer = raw.post(CUSTOMERS).body
    assert [row["type"] for row in raw.get("/v1/events", type="customer.*").body["data"]] == ["customer.created"]
    recent = raw.get("/v1/events", **{"created[gt]": int(start) + 500}).body["data"]
    assert [row["data"]["object"]["id"] for row in recent] == [customer["id"]]
    control.jump(31 * 86_400)
    assert raw.get("/v1/events").body["data"] == []
