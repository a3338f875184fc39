"""Lives of subscriptions at Stripe, told by webhooks that come twice, late, in disorder or never, and by polls: in the
end every row is as Stripe has it, and every change of it was told once."""

from __future__ import annotations

import random
from datetime import timedelta

from tests.integration.provisioning.conftest import NewStack
from tests.support.drift import at_stripe, drift
from tests.support.stack import ENDED, Stack, profile, users
from tests.support.waiting import wait_until
from worker.domain.event import TYPES

SECRET = "whsec_of_a_test_of_the_whole_way"
DAY = timedelta(days=1).total_seconds()


def live(stack: Stack, rng: random.Random, names: list[str]) -> None:
    """Some cancel, and some of those think again; others get a card, a good one or one that will be declined."""
    for name in names:
        customer = str(stack.customers(name)[0]["id"])
        subscription = stack.subscriptions(name)[0]
        path = f"/v1/subscriptions/{subscription['id']}"
        if subscription["status"] in ENDED:
            continue
        for act in rng.sample(["cancel", "think again", "good card", "bad card", "nothing"], 2):
            if act in {"cancel", "think again"}:
                stack.call_stripe("POST", path, cancel_at_period_end=str(act == "cancel").lower())
            elif act != "nothing":
                card = "pm_card_visa" if act == "good card" else "pm_card_chargeCustomerFail"
                method = stack.call_stripe("POST", f"/v1/payment_methods/{card}/attach", customer=customer)["id"]
                default = {"invoice_settings[default_payment_method]": method}
                stack.call_stripe("POST", f"/v1/customers/{customer}", **default)


def test_every_row_ends_as_stripe_has_it(new_stack: NewStack, rng: random.Random) -> None:
    stack = new_stack(
        STRIPE_WEBHOOK_SECRETS=f"main={SECRET}",
        SUBKEEPER_STRIPE__MONTHLY_READS="100000000",  # polls every 5 s
        SUBKEEPER_PLANS__PENDING__UNIT_AMOUNT="900",
    )
    stack.setup()
    worker = stack.start_worker("all")
    port = worker.process.fronts[0].http.port  # type: ignore[attr-defined]  # the webhook's
    stack.control.listen(f"http://127.0.0.1:{port}/stripe/webhook", *TYPES, secret=SECRET)
    stack.control.mishap("drop", probability=0.2)
    stack.control.mishap("duplicate", probability=0.3)
    stack.control.mishap("reorder", probability=0.5)
    wait_until(worker.is_ready)
    names = list(users(8))
    stack.publish(*[profile(name) for name in names])
    stack.await_completed(*names)
    for days in (1, 28.5, 2, 1):  # a trial, its notice, its end, and the first invoice's day
        live(stack, rng, names)
        stack.control.jump(days * DAY)
    wait_until(lambda: not drift(stack), 40, "every row is as Stripe has it")
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_changes WHERE sent_at IS NULL"), what="all are told")
    told = stack.rows("""
        SELECT stripe_subscription_id, array_agg(c.version ORDER BY c.version) AS told, max(s.version) AS last
        FROM subscription_changes c JOIN billing_subscriptions s USING (stripe_subscription_id) GROUP BY 1
    """)
    assert [each["told"] for each in told] == [list(range(1, each["last"] + 1)) for each in told]
    assert drift(stack) == []
    statuses = {found.fact.status for found in at_stripe(stack)}
    assert len(statuses) > 1, "they have led different lives"
