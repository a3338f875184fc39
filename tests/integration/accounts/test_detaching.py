"""DELETE /billing/payment-methods/{id}: taken away at Stripe, then here, and brought back by nothing."""

from __future__ import annotations

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, NewAccounts, signed_up, token_of
from tests.integration.web.callers import Reply, ask
from tests.support.waiting import wait_until


def cards(accounts: Accounts, user: str = "ann") -> dict[str, int | None]:
    """Our rows, and the place of each; None: it is gone."""
    query = """
        SELECT p.stripe_payment_method_id AS id, p.priority FROM payment_methods p
        JOIN billing_customers c ON c.id = p.billing_customer_id WHERE c.user_id = %s ORDER BY p.priority, p.id
    """
    return {each["id"]: each["priority"] for each in accounts.stack.rows(query, user)}


def given(accounts: Accounts, *names: str, user: str = "ann") -> list[str]:
    """Cards that the user has at Stripe and here, in this order."""
    customer = accounts.customer(user)["id"]
    found = [
        str(accounts.stack.call_stripe("POST", f"/v1/payment_methods/{name}/attach", customer=customer)["id"])
        for name in names
    ]
    accounts.stack.rows(
        """
        INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)
        SELECT c.id, new.id, new.priority FROM billing_customers c,
            unnest(%s::text[]) WITH ORDINALITY AS new (id, priority) WHERE c.user_id = %s
        """,
        found,
        user,
    )
    return found


def make_default(accounts: Accounts, card: str, user: str = "ann") -> None:
    """At Stripe, and here as an event some time ago has told."""
    customer = accounts.customer(user)["id"]
    accounts.stack.call_stripe(
        "POST", f"/v1/customers/{customer}", **{"invoice_settings[default_payment_method]": card}
    )
    accounts.stack.rows(
        """
        WITH customer AS (
            UPDATE billing_customers SET default_payment_method = %s, default_seen_from = now() - interval '1 minute',
                default_seen_to = now() - interval '1 minute' WHERE user_id = %s RETURNING id
        )
        UPDATE billing_subscriptions s SET customer_default_payment_method = %s FROM customer c
        WHERE s.billing_customer_id = c.id
        """,
        card,
        user,
        card,
    )


def take_away(accounts: Accounts, card: str, token: str | None = None, user: str = "ann", **headers: str) -> Reply:
    path = f"/billing/payment-methods/{card}?user_id={user}"
    return ask(accounts, path, token or token_of(user), "DELETE", **headers)


def listed(accounts: Accounts, user: str = "ann") -> list[tuple[str, bool]]:
    found = ask(accounts, f"/billing/payment-methods?user_id={user}", ADMIN.token).body["payment_methods"]
    return [(each["id"], each["default"]) for each in found]


def test_a_card_is_taken_away_at_stripe_and_the_others_move_up(accounts: Accounts) -> None:
    first, second, third = given(accounts, "pm_card_visa", "pm_card_mastercard", "pm_card_amex")
    assert take_away(accounts, second, Idempotency_Key="k").status == 204
    assert accounts.stack.call_stripe("GET", f"/v1/payment_methods/{second}")["customer"] is None
    assert cards(accounts) == {first: 1, third: 2, second: None}
    assert listed(accounts) == [(first, False), (third, False)]
    before = len(accounts.stack.control.requests())
    assert take_away(accounts, second, Idempotency_Key="k").status == 204, "the same result"
    assert take_away(accounts, third, Idempotency_Key="k").body["code"] == "key_reused"
    assert len(accounts.stack.control.requests()) == before, "and nothing is asked again"
    missing = take_away(accounts, second)
    assert (missing.status, missing.body["code"]) == (404, "no_payment_method")


def test_a_default_that_goes_leaves_none_and_nobody_is_payable_by_a_card_that_is_only_there(accounts: Accounts) -> None:
    default, other = given(accounts, "pm_card_visa", "pm_card_mastercard")
    make_default(accounts, default)
    assert accounts.read("ann").body["payable"] is True
    assert take_away(accounts, default).status == 204
    assert accounts.customer("ann")["invoice_settings"]["default_payment_method"] is None
    assert (accounts.read("ann").body["payable"], listed(accounts)) == (False, [(other, False)])
    (told,) = accounts.stack.rows("SELECT before, after, cause FROM subscription_changes ORDER BY id DESC LIMIT 1")
    assert (told["before"]["payable"], told["after"]["payable"], told["cause"]) == (True, False, "requested")


def test_a_card_that_is_no_default_leaves_the_default_as_it_is(accounts: Accounts) -> None:
    default, other = given(accounts, "pm_card_visa", "pm_card_mastercard")
    make_default(accounts, default)
    assert take_away(accounts, other).status == 204
    assert (accounts.read("ann").body["payable"], listed(accounts)) == (True, [(default, True)])


def test_a_subscription_whose_own_default_goes_is_asked_for(accounts: Accounts) -> None:
    (card,) = given(accounts, "pm_card_visa")
    accounts.at_stripe_do("ann", default_payment_method=card)
    accounts.stack.rows("UPDATE billing_subscriptions SET default_payment_method = %s", card)
    assert take_away(accounts, card).status == 204
    accounts.stack.start_worker("events")
    wait_until(lambda: accounts.read("ann").body["payable"] is False, 20)


def test_one_that_is_detached_at_stripe_already_is_gone_all_the_same(accounts: Accounts) -> None:
    (card,) = given(accounts, "pm_card_visa")
    accounts.stack.call_stripe("POST", f"/v1/payment_methods/{card}/detach")
    assert take_away(accounts, card).status == 204
    assert cards(accounts) == {card: None}


@pytest.mark.parametrize("when", ["after", "before"])
def test_an_answer_that_is_lost_is_asked_for_again(accounts: Accounts, when: str) -> None:
    """Also one that says that it is nobody's already, which comes from memory then."""
    (card,) = given(accounts, "pm_card_visa")
    path = f"/v1/payment_methods/{card}/detach"
    if when == "before":
        accounts.stack.call_stripe("POST", path)
    accounts.stack.control.fault("drop", match={"path": path, "method": "POST"}, times=1, when="after")
    assert take_away(accounts, card).status == 204
    assert cards(accounts) == {card: None}
    keys = {each["idempotency_key"] for each in accounts.stack.requests("POST", path) if each["idempotency_key"]}
    assert len({key for key in keys if key.startswith("subkeeper-")}) == 1


def test_what_stripe_refuses_for_a_card_that_is_still_the_users_is_told(accounts: Accounts) -> None:
    (card,) = given(accounts, "pm_card_visa")
    path = f"/v1/payment_methods/{card}/detach"
    accounts.stack.control.fault("status", match={"path": path, "method": "POST"}, status=400)
    reply = take_away(accounts, card)
    assert (reply.status, reply.body["code"]) == (409, "refused")
    assert cards(accounts) == {card: 1}


def test_another_users_card_is_none(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob")
    (theirs,) = given(accounts, "pm_card_visa", user="bob")
    told = take_away(accounts, theirs)
    assert (told.status, told.body["code"]) == (404, "no_payment_method")
    assert told.body == take_away(accounts, "pm_that_is_not_there").body == take_away(accounts, "pm%00").body
    assert take_away(accounts, theirs, token_of("ann"), "bob").status == 403
    assert take_away(accounts, theirs, token_of("ann", "subscriptions:read"), "bob").status == 403
    assert take_away(accounts, theirs, ADMIN.token, "nobody").body["code"] == "no_payment_method"
    assert cards(accounts, "bob") == {theirs: 1}
    assert accounts.rows() == []
    assert take_away(accounts, theirs, ADMIN.token, "bob").status == 204


def test_no_late_event_and_no_list_brings_it_back(accounts: Accounts) -> None:
    kept, gone = given(accounts, "pm_card_visa", "pm_card_mastercard")
    assert take_away(accounts, gone).status == 204
    accounts.stack.start_worker("events")
    attached, detached = (accounts.stack.events(f"payment_method.{what}") for what in ("attached", "detached"))
    for event in [*detached, *attached, *attached]:
        accounts.stack.hear(event)
    accounts.stack.await_heard(*attached, *detached)
    assert listed(accounts) == [(kept, False)]
    assert cards(accounts) == {kept: 1, gone: None}


def test_a_user_without_a_subscription_may_take_a_card_away(accounts: Accounts) -> None:
    (card,) = given(accounts, "pm_card_visa")
    assert accounts.delete("ann").status == 204
    assert take_away(accounts, card).status == 204
    assert cards(accounts) == {card: None}


def test_without_a_key_for_stripe_nothing_is_taken_away(new_accounts: NewAccounts) -> None:
    accounts = new_accounts(STRIPE_SECRET_KEY="")
    (card,) = given(accounts, "pm_card_visa")
    told = take_away(accounts, card)
    assert (told.status, told.body["code"], accounts.rows()) == (503, "billing-disabled", [])
