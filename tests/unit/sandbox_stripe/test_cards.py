"""Cards: attached, made the default, set up, detached; and those that are declined."""

from __future__ import annotations

import pytest

from tests.unit.sandbox_stripe.account import Account, Refused


def test_a_token_becomes_a_card_that_a_customer_gets(account: Account) -> None:
    customer = account.customer()
    method = account.post("/v1/payment_methods", {"type": "card", "card[token]": "tok_visa"})
    assert (method["customer"], method["card"]["last4"]) == (None, "4242")
    attached = account.post(f"/v1/payment_methods/{method['id']}/attach", customer=customer)
    assert attached["customer"] == customer
    for listed in (
        account.get("/v1/payment_methods", customer=customer, type="card"),
        account.get(f"/v1/customers/{customer}/payment_methods"),
    ):
        assert [row["id"] for row in listed["data"]] == [method["id"]]
    assert account.told()[-1] == "payment_method.attached"


def test_a_card_known_by_its_test_name_is_a_new_one_each_time(account: Account) -> None:
    customer = account.customer()
    made = [account.post("/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"] for _ in range(2)]
    assert len(set(made)) == 2
    assert "pm_card_visa" not in made


@pytest.mark.parametrize(
    ("card", "code", "decline"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ],
)
def test_a_card_that_is_declined_is_not_attached(account: Account, card: str, code: str, decline: str) -> None:
    customer = account.customer()
    with pytest.raises(Refused) as refusal:
        account.post(f"/v1/payment_methods/{card}/attach", customer=customer)
    assert (refusal.value.status, refusal.value.code) == (402, code)
    assert (refusal.value.error["type"], refusal.value.error["decline_code"]) == ("card_error", decline)
    assert account.get(f"/v1/customers/{customer}/payment_methods")["data"] == []


def test_a_card_is_another_customer_s_only_after_it_is_detached_and_then_no_default_any_more(account: Account) -> None:
    first, second = account.customer("pm_card_visa"), account.customer()
    method = account.get(f"/v1/customers/{first}")["invoice_settings"]["default_payment_method"]
    subscription = account.subscribe(first, default_payment_method=method)
    with pytest.raises(Refused):
        account.post(f"/v1/payment_methods/{method}/attach", customer=second)
    before = account.mark()
    assert account.post(f"/v1/payment_methods/{method}/detach")["customer"] is None
    assert account.told(before) == ["payment_method.detached", "customer.updated", "customer.subscription.updated"]
    assert account.events(before)[0]["data"]["previous_attributes"] == {"customer": first}
    assert account.get(f"/v1/customers/{first}")["invoice_settings"]["default_payment_method"] is None
    assert account.subscription(subscription["id"])["default_payment_method"] is None


def test_a_default_must_be_the_customer_s_own(account: Account) -> None:
    customer = account.customer()
    for name in ("pm_card_visa", "pm_unknown"):
        with pytest.raises(Refused) as refusal:
            account.post(f"/v1/customers/{customer}", {"invoice_settings[default_payment_method]": name})
        assert refusal.value.code == "resource_missing"


def test_an_update_changes_the_expiry_of_a_card_that_is_attached(account: Account) -> None:
    customer = account.customer("pm_card_visa")
    method = account.get(f"/v1/customers/{customer}/payment_methods")["data"][0]["id"]
    changed = account.post(f"/v1/payment_methods/{method}", {"card[exp_month]": 1, "card[exp_year]": 2027})
    assert (changed["card"]["exp_month"], changed["card"]["exp_year"]) == (1, 2027)
    assert account.told()[-1] == "payment_method.updated"


def test_a_customer_that_is_deleted_keeps_no_card(account: Account) -> None:
    customer = account.customer("pm_card_visa")
    method = account.get(f"/v1/customers/{customer}/payment_methods")["data"][0]["id"]
    account.delete(f"/v1/customers/{customer}")
    assert account.get(f"/v1/payment_methods/{method}")["customer"] is None
    assert account.told()[-2:] == ["customer.updated", "customer.deleted"]


def test_a_setup_intent_attaches_the_card_that_it_is_confirmed_with(account: Account) -> None:
    customer = account.customer()
    intent = account.post("/v1/setup_intents", customer=customer)
    assert (intent["status"], intent["payment_method"]) == ("requires_payment_method", None)
    before = account.mark()
    done = account.post(f"/v1/setup_intents/{intent['id']}/confirm", payment_method="pm_card_visa")
    assert done["status"] == "succeeded"
    assert account.told(before) == ["payment_method.attached", "setup_intent.succeeded"]
    assert account.get(f"/v1/payment_methods/{done['payment_method']}")["customer"] == customer
    for verb in ("confirm", "cancel"):
        with pytest.raises(Refused):
            account.post(f"/v1/setup_intents/{intent['id']}/{verb}")


def test_a_setup_intent_whose_card_is_declined_remembers_why_and_takes_another(account: Account) -> None:
    customer = account.customer()
    intent = account.post("/v1/setup_intents", customer=customer)
    path = f"/v1/setup_intents/{intent['id']}"
    with pytest.raises(Refused) as refusal:
        account.post(f"{path}/confirm", payment_method="pm_card_chargeDeclined")
    assert refusal.value.status == 402
    failed = account.get(path)
    assert (failed["status"], failed["last_setup_error"]["code"]) == ("requires_payment_method", "card_declined")
    assert account.told()[-1] == "setup_intent.setup_failed"
    assert account.post(f"{path}/confirm", payment_method="pm_card_visa")["last_setup_error"] is None


def test_a_setup_intent_waits_for_a_customer_whom_the_card_asks(account: Account) -> None:
    sent = {"customer": account.customer(), "payment_method": "pm_card_authenticationRequired", "confirm": "true"}
    intent = account.post("/v1/setup_intents", sent)
    assert (intent["status"], intent["next_action"]["type"]) == ("requires_action", "redirect_to_url")
    assert account.post(f"/v1/setup_intents/{intent['id']}/cancel")["status"] == "canceled"


def test_a_trial_that_is_to_collect_a_card_has_a_setup_intent_that_makes_it_the_default(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscribe(
        customer,
        trial_period_days=10,
        payment_behavior="default_incomplete",
        **{"payment_settings[save_default_payment_method]": "on_subscription"},
    )
    path = f"/v1/setup_intents/{subscription['pending_setup_intent']}/confirm"
    method = account.post(path, payment_method="pm_card_visa")["payment_method"]
    found = account.subscription(subscription["id"])
    assert (found["pending_setup_intent"], found["default_payment_method"]) == (None, method)
    assert account.subscribe(account.customer(), trial_period_days=10)["pending_setup_intent"] is None
