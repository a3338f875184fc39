"""Customers that several own: who is given a role, what it allows, and whose a subscription is there."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, signed_up, token_of
from tests.integration.web.callers import Reply, ask
from tests.support.waiting import wait_until

OWNERS = "/billing/owners"
READ = "subscriptions:read"
BACK = "https://app.example.com/back"


def customer(accounts: Accounts, user_id: str = "ann") -> str:
    return str(accounts.stack.ledger(user_id)["stripe_customer_id"])


def give(accounts: Accounts, role: str, token: str = ADMIN.token, to: str | None = None, **owner: str) -> Reply:
    return ask(accounts, OWNERS, token, "PUT", {"customer": to or customer(accounts), "role": role, **owner})


def take_away(accounts: Accounts, token: str = ADMIN.token, to: str | None = None, **owner: str) -> Reply:
    return ask(accounts, f"{OWNERS}?{urlencode({'customer': to or customer(accounts), **owner})}", token, "DELETE")


def owners(accounts: Accounts, token: str = ADMIN.token, **of: str) -> Reply:
    return ask(accounts, f"{OWNERS}?{urlencode(of or {'customer': customer(accounts)})}", token)


def owned(accounts: Accounts, who: str, token: str = ADMIN.token) -> set[str]:
    return {each["customer"] for each in ask(accounts, f"{OWNERS}/{who}", token).body["owners"]}


def roles(reply: Reply) -> dict[str, str]:
    return {each["user_id"] or f"project {each['project_id']}": each["role"] for each in reply.body["owners"]}


def metadata(accounts: Accounts, who: str) -> dict[str, str]:
    """What names this owner of ann's customer on a subscription."""
    found = {each["user_id"] or each["project_id"]: each["metadata"] for each in owners(accounts).body["owners"]}
    return {f"metadata[{name}]": value for name, value in found[who].items()}


def subscribe(accounts: Accounts, **form: str) -> str:
    """Another subscription on ann's customer, made by somebody at Stripe, and its events."""
    stack = accounts.stack
    form = {"customer": customer(accounts), "items[0][price]": stack.price()["id"], "trial_period_days": "9", **form}
    made = str(stack.call_stripe("POST", "/v1/subscriptions", **form)["id"])
    stack.start_worker("events")
    heard = [each for each in stack.events("customer.subscription.created") if each["data"]["object"]["id"] == made]
    stack.hear(*heard)
    stack.await_heard(*heard)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"), 20)
    return made


def row(accounts: Accounts, identifier: str) -> dict[str, Any] | None:
    found = accounts.stack.rows(
        "SELECT owner_user_id, owner_project_id FROM billing_subscriptions WHERE stripe_subscription_id = %s",
        identifier,
    )
    return found[0] if found else None


def is_unmatched(accounts: Accounts, identifier: str) -> bool:
    query = "SELECT 1 FROM unmatched_subscriptions WHERE stripe_subscription_id = %s"
    return bool(accounts.stack.rows(query, identifier))


def test_a_role_is_given_told_and_taken_away_and_the_others_keep_theirs(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob")
    assert roles(owners(accounts)) == {"ann": "payer"}
    assert give(accounts, "payer", user_id="bob").body["metadata"]["user_id"] == "bob"
    assert roles(owners(accounts)) == {"ann": "payer", "bob": "payer"}
    given = give(accounts, "member", project_id="p").body
    assert (given["customer"], given["project_id"], given["role"]) == (customer(accounts), "p", "member")
    assert roles(owners(accounts)) == {"ann": "payer", "bob": "payer", "project p": "member"}
    assert owned(accounts, "users/bob", token_of("bob")) == {customer(accounts), customer(accounts, "bob")}
    assert [take_away(accounts, user_id="bob").status, take_away(accounts, user_id="bob").status] == [204, 204]
    assert roles(owners(accounts)) == {"ann": "payer", "project p": "member"}
    assert owned(accounts, "projects/p") == {customer(accounts)}


def test_only_admins_give_and_take_and_only_who_may_read_everybodys_is_told(accounts: Accounts) -> None:
    for who, statuses in ((token_of("ann"), [403] * 3), (token_of("ann", READ), [403, 403, 200])):
        told = [give(accounts, "payer", who, user_id="ann"), take_away(accounts, who, user_id="ann")]
        assert [each.status for each in (*told, owners(accounts, who))] == statuses
    for path in ("users/ann", "projects/p"):
        read = [ask(accounts, f"{OWNERS}/{path}", token_of("eve", scope)).status for scope in (None, READ)]
        assert read == [403, 200]
    assert roles(owners(accounts)) == {"ann": "payer"}


def test_what_cant_be_is_told_by_pointers(accounts: Accounts) -> None:
    for reply, pointers in (
        (give(accounts, "owner", user_id="bob"), ["/body/role"]),
        (give(accounts, "payer"), ["/body"]),
        (give(accounts, "payer", user_id="a", project_id="b", x="y"), ["/body", "/body/x"]),
        (give(accounts, "payer", user_id="\x00"), ["/body/user_id"]),
        (ask(accounts, OWNERS, ADMIN.token), ["/query/customer"]),
        (ask(accounts, f"{OWNERS}?user_id=a", ADMIN.token, "DELETE"), ["/query/customer"]),
        (owners(accounts, customer=""), ["/query/customer"]),
        (ask(accounts, f"{OWNERS}/projects/", ADMIN.token), ["/path/project_id"]),
    ):
        assert (reply.status, [each["pointer"] for each in reply.body["errors"]]) == (400, pointers)
    for reply in (owners(accounts, customer="cus_x"), give(accounts, "payer", to="cus_x", user_id="bob")):
        assert (reply.status, reply.body["code"]) == (404, "no_customer")


def test_on_a_shared_customer_a_subscriptions_metadata_alone_says_whose_it_is(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob", "eve")
    give(accounts, "payer", user_id="bob")
    give(accounts, "member", project_id="p")
    anns, bobs, projects = (subscribe(accounts, **metadata(accounts, who)) for who in ("ann", "bob", "p"))
    assert [row(accounts, each) for each in (anns, bobs, projects)] == [
        {"owner_user_id": None, "owner_project_id": None},
        {"owner_user_id": "bob", "owner_project_id": None},
        {"owner_user_id": None, "owner_project_id": "p"},
    ]
    told = accounts.stack.rows(
        "SELECT stripe_subscription_id, user_id, project_id FROM subscription_changes WHERE cause = 'adopted'"
        " ORDER BY id"
    )
    assert [tuple(each.values()) for each in told] == [(anns, "ann", None), (bobs, "bob", None), (projects, None, "p")]
    assert accounts.read("ann").body["stripe_subscription"] == accounts.id_of("ann") != anns


def test_whose_metadata_names_nobody_who_owns_the_customer_is_nobodys(accounts: Accounts) -> None:
    signed_up(accounts.stack, "eve")
    give(accounts, "member", project_id="p")
    named = metadata(accounts, "p")
    eves = {"metadata[user_id]": "eve", "metadata[subkeeper]": accounts.customer("eve")["metadata"]["subkeeper"]}
    unnamed, forged = subscribe(accounts), subscribe(accounts, **{**named, "metadata[subkeeper]": "x"})
    strange = subscribe(accounts, **eves)
    for each in (unnamed, forged, strange):
        assert (row(accounts, each), is_unmatched(accounts, each)) == (None, True)
    give(accounts, "member", user_id="eve")
    wait_until(lambda: row(accounts, strange) is not None, 20)
    assert row(accounts, strange) == {"owner_user_id": "eve", "owner_project_id": None}
    assert [is_unmatched(accounts, each) for each in (unnamed, forged, strange)] == [True, True, False]


def test_a_subscription_stays_its_owners_whatever_its_metadata_says_later(accounts: Accounts) -> None:
    """Neither by a snapshot nor by a fetch: what was told of it was told of its owner."""
    stack = accounts.stack
    give(accounts, "payer", user_id="bob")
    give(accounts, "member", project_id="p")
    made = subscribe(accounts, **metadata(accounts, "bob"))
    stack.call_stripe("POST", f"/v1/subscriptions/{made}", **{"metadata[user_id]": "", **metadata(accounts, "p")})
    updated = stack.call_stripe("POST", f"/v1/subscriptions/{made}", cancel_at_period_end="true")
    assert updated["metadata"] == {"project_id": "p", "subkeeper": updated["metadata"]["subkeeper"]}
    (heard,) = stack.events("customer.subscription.updated")[-1:]
    stack.hear({**heard, "created": heard["created"] + 60})
    wait_until(lambda: stack.subscription_row(made)["canceling"], 20)
    stack.call_stripe("POST", f"/v1/subscriptions/{made}", cancel_at_period_end="false")
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES (%s)", made)
    wait_until(lambda: not stack.subscription_row(made)["canceling"], 20)
    assert row(accounts, made) == {"owner_user_id": "bob", "owner_project_id": None}
    told = stack.rows(
        "SELECT user_id, project_id, cause FROM subscription_changes WHERE stripe_subscription_id = %s ORDER BY id",
        made,
    )
    assert [tuple(each.values()) for each in told] == [
        ("bob", None, "adopted"), ("bob", None, "customer.subscription.updated"), ("bob", None, "refresh"),
    ]  # fmt: skip


def test_a_projects_subscription_moves_with_stripe_and_nobodys_pointer_with_it(accounts: Accounts) -> None:
    give(accounts, "member", project_id="p")
    made = subscribe(accounts, **metadata(accounts, "p"))
    accounts.stack.call_stripe("DELETE", f"/v1/subscriptions/{accounts.id_of('ann')}")
    accounts.stack.call_stripe("POST", f"/v1/subscriptions/{made}", cancel_at_period_end="true")
    heard = accounts.stack.events("customer.subscription.updated", "customer.subscription.deleted")
    accounts.stack.hear(*[{**each, "created": each["created"] + 60} for each in heard])
    wait_until(lambda: accounts.stack.subscription_row(made)["canceling"], 20)
    wait_until(lambda: accounts.read("ann").body["status"] == "canceled", 20)
    assert accounts.read("ann").body["stripe_subscription"] != made, "a project's is no user's"
    told = accounts.stack.rows(
        "SELECT user_id, project_id FROM subscription_changes WHERE stripe_subscription_id = %s", made
    )
    assert {tuple(each.values()) for each in told} == {(None, "p")}


def test_a_users_subscription_on_anothers_customer_becomes_theirs_when_their_own_has_ended(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob")
    give(accounts, "member", user_id="bob")
    own, made = accounts.id_of("bob"), subscribe(accounts, **metadata(accounts, "bob"))
    assert accounts.read("bob").body["stripe_subscription"] == own
    accounts.stack.call_stripe("DELETE", f"/v1/subscriptions/{own}")
    heard = accounts.stack.events("customer.subscription.deleted")
    accounts.stack.hear(*[{**each, "created": each["created"] + 60} for each in heard])
    wait_until(lambda: accounts.read("bob").body["stripe_subscription"] == made, 20)
    assert accounts.change("bob", {"plan": "pro"}).body["plan"] == "pro"
    for body in ({"stripe_source": "pm_card_visa"}, {"email": "bob@new.example"}):
        refused = accounts.change("bob", body)
        assert (refused.status, refused.body["code"]) == (403, "not_payer")
    give(accounts, "payer", user_id="bob")
    assert accounts.change("bob", {"stripe_source": "pm_card_visa"}).status == 200
    assert accounts.customer("ann")["invoice_settings"]["default_payment_method"] is not None
    assert accounts.customer("bob")["invoice_settings"]["default_payment_method"] is None


def test_checkout_the_portal_cards_and_bills_are_the_payers_alone(accounts: Accounts) -> None:
    give(accounts, "member", user_id="ann")
    urls = {"success_url": BACK, "cancel_url": BACK}
    cards = "/billing/payment-methods"

    def asked() -> list[Reply]:
        token = token_of("ann")
        return [
            accounts.post("/billing/subscriptions", {"user_id": "ann", "plan": "pro", **urls}, token),
            accounts.post(f"{cards}/setup", {"user_id": "ann", "return_url": BACK}, token),
            accounts.post(
                "/billing/subscriptions/manage", {"user_id": "ann", "intent": "cancel", "return_url": BACK}, token
            ),
            ask(accounts, f"{cards}?user_id=ann", token),
            ask(accounts, f"{cards}/order?user_id=ann", token, "PUT", {"payment_methods": []}),
            ask(accounts, "/billing/customers/ann", token),
            ask(accounts, "/billing/customers/ann", token, "PATCH", {"name": "Ann"}),
            accounts.change("ann", {"stripe_source": "pm_card_visa"}),
        ]

    assert {(each.status, each.body["code"]) for each in asked()} == {(403, "not_payer")}
    assert accounts.rows() == []
    assert accounts.change("ann", {"canceling": True}).status == 200
    give(accounts, "payer", user_id="ann")
    assert 403 not in {each.status for each in asked()}


def test_a_page_on_a_shared_customer_is_for_the_users_own_subscription(accounts: Accounts) -> None:
    """What others have there is neither changed nor taken for theirs."""
    signed_up(accounts.stack, "bob")
    give(accounts, "payer", user_id="bob")
    subscribe(accounts, **metadata(accounts, "bob"))
    accounts.stack.call_stripe("DELETE", f"/v1/subscriptions/{accounts.id_of('ann')}")
    urls = {"success_url": BACK, "cancel_url": BACK}
    opened = accounts.post("/billing/subscriptions", {"user_id": "ann", "plan": "pro", **urls}, token_of("ann"))
    assert opened.status == 201
    (page,) = accounts.stack.rows("SELECT mode FROM checkouts")
    assert page["mode"] == "subscription"
    (asked,) = accounts.stack.requests("POST", "/v1/checkout/sessions")
    assert asked["params"]["subscription_data"]["metadata"]["user_id"] == "ann"
    assert take_away(accounts, user_id="ann").body["code"] == "under_way"


def test_who_has_a_subscription_there_owns_the_customer_until_that_has_ended(accounts: Accounts) -> None:
    give(accounts, "payer", project_id="p")
    made = subscribe(accounts, **metadata(accounts, "p"))
    for refused in (take_away(accounts, project_id="p"), take_away(accounts, user_id="ann")):
        assert (refused.status, refused.body["code"]) == (409, "owns_subscriptions")
    assert accounts.delete("ann").status == 204
    assert take_away(accounts, user_id="ann").status == 204
    assert roles(owners(accounts)) == {"project p": "payer"}
    assert row(accounts, made) == {"owner_user_id": None, "owner_project_id": "p"}
    late = subscribe(accounts)
    assert (row(accounts, late), is_unmatched(accounts, late)) == (None, True), "it was ann's customer"


@pytest.mark.parametrize("state", ["pending", "customer_created", "erasing", "erased"])
def test_who_signs_up_or_is_erased_is_given_nothing(accounts: Accounts, state: str) -> None:
    signed_up(accounts.stack, "bob")
    accounts.stack.rows("UPDATE provisionings SET state = %s WHERE user_id = 'bob'", state)
    if state.startswith("eras"):
        refused = give(accounts, "payer", user_id="bob")
        assert (refused.status, refused.body["code"]) == (409, "erased")
    else:
        refused = give(accounts, "payer", to=customer(accounts, "bob"), user_id="ann")
        assert (refused.status, refused.body["code"]) == (409, "signup_unfinished")


@pytest.mark.parametrize("kind", ["checkout", "details"])
def test_who_still_has_work_under_way_there_as_a_payer_stays_one(accounts: Accounts, kind: str) -> None:
    """What comes of a page, or of a change, is what a member may not do."""
    signed_up(accounts.stack, "bob")
    give(accounts, "payer", user_id="bob")
    if kind == "checkout":
        urls = {"success_url": BACK, "cancel_url": BACK}
        body = {"user_id": "ann", "plan": "pro", **urls}
        assert accounts.post("/billing/subscriptions", body, token_of("ann")).status == 201
    else:
        path = f"/v1/customers/{customer(accounts)}"
        accounts.stack.control.fault("status", match={"path": path, "method": "POST"}, status=503)
        asked = ask(accounts, "/billing/customers/ann", token_of("ann"), "PATCH", {"name": "Ann"})
        assert asked.status == 202
    refused = give(accounts, "member", user_id="ann")
    assert (refused.status, refused.body.get("code")) == (409, "under_way")
    assert roles(owners(accounts)) == {"ann": "payer", "bob": "payer"}
    assert give(accounts, "payer", user_id="ann").status == 200
    assert give(accounts, "member", user_id="bob").status == 200


def test_work_under_way_keeps_a_payer_from_becoming_a_member_and_nobody_from_becoming_a_payer(
    accounts: Accounts,
) -> None:
    accounts.stack.rows(
        "INSERT INTO account_changes (id, kind, user_id, caller, digest, steps, wanted, stripe_customer_id, due_at)"
        " VALUES (gen_random_uuid(), 'update', 'bob', 'admin', '', '{plan}', '{}', %s, now() + '1 h')",
        customer(accounts),
    )
    replies = [give(accounts, role, user_id="bob") for role in ("member", "member", "payer", "payer", "member")]
    assert [each.status for each in replies] == [200] * 4 + [409]
    assert replies[-1].body["code"] == "under_way"
