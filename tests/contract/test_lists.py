"""Lists tell at once what was written, in the order and with the edges that looks rely on: asked once, not polled."""

from __future__ import annotations

from tests.contract.account import Account
from tests.contract.life import DAY, Makes, subscribe


def test_a_customer_is_listed_by_exactly_its_email_at_once_and_in_its_second(account: Account, makes: Makes) -> None:
    email = f"{makes.word()}@example.com"
    made = [makes.customer(email=email) for _ in range(2)]
    makes.customer(email=f"not-{email}")
    asked = {"email": email, "created": {"lte": made[1]["created"]}}
    assert {each["id"] for each in account.all("/v1/customers", asked)} == {each["id"] for each in made}
    assert list(account.all("/v1/customers", {"email": email, "created": {"lt": made[0]["created"]}})) == []


def test_a_customers_subscriptions_are_listed_at_once_and_the_ended_ones_with_status_all(
    account: Account, makes: Makes, free: str
) -> None:
    customer = makes.customer()
    lasting, ended = (subscribe(account, customer, free) for _ in range(2))
    account.delete(f"/v1/subscriptions/{ended['id']}")

    def listed(**asked: str) -> set[str]:
        return {each["id"] for each in account.all("/v1/subscriptions", {"customer": customer["id"], **asked})}

    assert listed(status="all") == {lasting["id"], ended["id"]}
    assert listed() == {lasting["id"]}
    assert listed(status="ended") == {ended["id"]}


def test_a_list_goes_on_after_its_cursor_newest_first(account: Account, makes: Makes) -> None:
    email = f"{makes.word()}@example.com"
    older, newer = makes.customers_of_two_seconds(email=email)
    newest = makes.customer(email=email)
    first = account.get("/v1/customers", {"email": email, "limit": 2})
    rest = account.get("/v1/customers", {"email": email, "limit": 2, "starting_after": first["data"][-1]["id"]})
    pages = [*first["data"], *rest["data"]]
    assert [first["has_more"], rest["has_more"]] == [True, False]
    assert {each["id"] for each in pages[:2]} == {newest["id"], newer["id"]}
    assert [each["id"] for each in pages[2:]] == [older["id"]]


def test_a_lookup_key_belongs_to_one_price_and_finds_it(account: Account, makes: Makes, product: str) -> None:
    key = makes.word()
    price = makes.price(product, 0, lookup_key=key)
    terms = {"currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"}, "product": product}
    assert account.ask("post", "/v1/prices", {**terms, "lookup_key": key}).status == 400
    found = account.get("/v1/prices", {"lookup_keys": [key], "limit": 1})["data"]
    assert [each["id"] for each in found] == [price["id"]]


def test_a_latest_invoice_is_an_id_and_is_expanded_in_a_list_too(account: Account, makes: Makes, free: str) -> None:
    customer = makes.customer()
    made = subscribe(account, customer, free, trial_end=account.now() + 31 * DAY)
    asked = {"customer": customer["id"], "status": "all", "expand": ["data.latest_invoice"]}
    (listed,) = account.all("/v1/subscriptions", asked)
    assert made["latest_invoice"] == listed["latest_invoice"]["id"]
    assert listed["latest_invoice"]["parent"]["subscription_details"]["subscription"] == made["id"]
